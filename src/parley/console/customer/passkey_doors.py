"""The doors of passkeys, for the page's own script: signing in, confirming that it is she, adding one. JSON in and out."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from parley.console.customer.ceremonies import CHALLENGE_LIFE, Ceremonies
from parley.console.customer.doors import Doors, TooMany, client_address, decoded, with_cookie
from parley.console.customer.reading import lower_headers, read_cookie, read_json
from parley.model.customers import PasskeyUse, SignInMethod
from parley.model.refusals import BadInput


class Sent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    use: PasskeyUse


class NewPasskey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    credential: msgspec.Raw
    name: str = ""


class PasskeyDoors(Doors):
    async def challenge(self, request: Request) -> Response:
        async def work() -> Response:
            body = await read_json(request, self._settings.public_origin)
            if not self._house.admits(client_address(request)):
                raise TooMany()
            use = decoded(body, Sent).use
            sign_in = None if use is PasskeyUse.SIGN_IN else await self._proven(request, fresh=use is PasskeyUse.ADD)
            if sign_in is None:
                await self._check_visit(request)
            knock = await self._with_passkeys().begin(use, sign_in, self._settings.bank_title)
            secure = "; Secure" if self._settings.secure else ""
            cookie = f"{self._knock_cookie}={knock.token}; Path=/; Max-Age={int(CHALLENGE_LIFE.total_seconds())}; HttpOnly; SameSite=Strict{secure}"
            return with_cookie(JSONResponse(knock.options), cookie)

        return await self._json(work)

    async def passkey_sign_in(self, request: Request) -> Response:
        async def work() -> Response:
            sent = await read_json(request, self._settings.public_origin)
            await self._check_visit(request)
            headers = lower_headers(request)
            customer = await self._with_passkeys().sign_in(read_cookie(headers, self._knock_cookie), sent)
            cookie = await self._house.sign_ins.arrived(customer, SignInMethod.PASSKEY, headers)
            return with_cookie(JSONResponse({"next": "/me"}), cookie)

        return await self._json(work)

    async def passkey_step_up(self, request: Request) -> Response:
        async def work() -> Response:
            sent = await read_json(request, self._settings.public_origin)
            sign_in = await self._proven(request, fresh=False)
            headers = lower_headers(request)
            await self._with_passkeys().step_up(read_cookie(headers, self._knock_cookie), sent, sign_in)
            cookie = await self._house.sign_ins.arrived(sign_in.customer, SignInMethod.PASSKEY, headers)
            return with_cookie(JSONResponse({"next": "/me"}), cookie)

        return await self._json(work)

    async def passkey_add(self, request: Request) -> Response:
        async def work() -> Response:
            body = await read_json(request, self._settings.public_origin)
            sign_in = await self._proven(request, fresh=True)
            sent = decoded(body, NewPasskey)
            knock = read_cookie(lower_headers(request), self._knock_cookie)
            await self._with_passkeys().add(knock, bytes(sent.credential), sign_in, sent.name)
            return JSONResponse({"next": "/me/security?done=passkey-added"})

        return await self._json(work)

    def _with_passkeys(self) -> Ceremonies:
        if self._ceremonies is None:
            raise BadInput("session_unknown", "no passkeys at this address")
        return self._ceremonies
