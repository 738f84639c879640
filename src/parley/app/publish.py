"""The log's public address: anybody may read it, from any site, and nothing there needs to be kept from anybody."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from parley.app.frame import Frame
from parley.log.published import LogUnreadable, PublishedLog
from parley.model.refusals import LogUnavailable

FOR_EVERYBODY = {"access-control-allow-origin": "*", "cross-origin-resource-policy": "cross-origin"}
FOR_EVER = "public, max-age=31536000, immutable"


def log_routes(frame: Frame) -> list[BaseRoute]:
    """`/log/checkpoint` and `/log/tile/…` (c2sp.org/tlog-tiles), and the key that they are checked with."""
    published = PublishedLog(frame.settings.data)

    async def resource(request: Request) -> Response:
        try:
            found = published.at(request.path_params["path"])
        except LogUnreadable:
            return JSONResponse({"outcome": "fault", "code": LogUnavailable.code, "text": LogUnavailable.plain_words}, status_code=503)
        if found is None:
            return Response(status_code=404, headers=FOR_EVERYBODY)
        headers = {**FOR_EVERYBODY, "cache-control": FOR_EVER if found.lasts else "no-cache"}
        return Response(found.body, media_type=found.media_type, headers=headers)

    async def key(request: Request) -> Response:
        """Served for convenience: whoever distrusts this house takes the key from somewhere else."""
        return Response(frame.vkey + "\n", media_type="text/plain", headers={**FOR_EVERYBODY, "cache-control": "no-cache"})

    return [Route("/log/vkey", key, methods=["GET"]), Route("/log/{path:path}", resource, methods=["GET"])]
