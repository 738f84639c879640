"""Makes the faults that are switched on happen: before an answer is made, to its contents, or to its bytes."""

import asyncio
import uuid
from collections.abc import Callable
from typing import Literal

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from parley_sandbox.entities import Entity
from parley_sandbox.faults import FaultBoard, seconds
from parley_sandbox.web import Refusal

PathClass = Literal["accounts", "account", "transactions", "customer"]
HERE = "_here"
FOREIGN = "https://elsewhere.invalid/fdx/v6/accounts?pageKey=trap"


async def before(board: FaultBoard) -> None:
    """Faults instead of an answer. Raises the Refusal that is switched on."""
    if (delay := board.strikes("slow")) is not None:
        await asyncio.sleep(seconds(delay))
    if board.strikes("token_expired") is not None:
        raise Refusal(401, "603", "The access token is missing, unknown or expired.", {"www-authenticate": 'Bearer error="invalid_token"'})
    if (wait := board.strikes("rate_limit")) is not None:
        raise Refusal(429, "1207", "Too many requests.", {"retry-after": wait})
    if board.strikes("error500") is not None:
        raise Refusal(500, "500", "Something broke.")
    if board.strikes("maintenance") is not None:
        raise Refusal(503, "503", "The bank is being mended.", {"retry-after": "30"})
    if board.strikes("link_lost") is not None:
        raise Refusal(403, "602", "The customer's permission has ended.")


def bend(board: FaultBoard, path_class: PathClass, content: Entity) -> tuple[Entity, int]:
    """The contents with the faults that change meaning, and the status that goes with them."""
    rows = _rows(path_class, content)
    for name, change in _CHANGES.items():
        if (value := board.strikes(name)) is not None:
            for row in rows:
                change(row, value)
    here = content.pop(HERE, None)
    if path_class in ("accounts", "transactions"):
        return content, _bend_list(board, path_class, content, here)
    return content, 200


def _rows(path_class: PathClass, content: Entity) -> list[Entity]:
    listed = content.get(path_class)
    return listed if isinstance(listed, list) else [content]


def _bend_list(board: FaultBoard, path_class: PathClass, content: Entity, here: object) -> int:
    rows = _rows(path_class, content)
    page = content["page"]
    if not isinstance(page, dict):
        raise TypeError("a list without a page")
    if board.strikes("repeat_cursor") is not None:
        page["nextPageKey"] = here
        content.pop("links", None)
    if board.strikes("foreign_next_link") is not None:
        page.pop("nextPageKey", None)
        content["links"] = {"next": {"href": FOREIGN}}
    if board.strikes("duplicate_rows") is not None and rows:
        rows.append(rows[-1])
    if rows and board.strikes("partial") is not None:
        last = rows.pop()
        if path_class == "accounts":
            rows.append({"accountId": last["accountId"], "accountCategory": last["accountCategory"], "error": {"code": "500", "message": "Later."}})
        return 206
    return 200


def _wrong_currency(row: Entity, value: str) -> None:
    if "currency" in row:
        row["currency"] = {"currencyCode": value}


def _no_currency(row: Entity, value: str) -> None:
    del value
    row.pop("currency", None)


def _signed(row: Entity, value: str) -> None:
    del value
    if row.get("debitCreditMemo") == "DEBIT":
        row["amount"] = -row["amount"]  # type: ignore[operator]


def _no_memo(row: Entity, value: str) -> None:
    del value
    row.pop("debitCreditMemo", None)


def _wrong_sign(row: Entity, value: str) -> None:
    del value
    if "debitCreditMemo" in row:
        row["debitCreditMemo"] = "CREDIT" if row["debitCreditMemo"] == "DEBIT" else "DEBIT"


def _string_amounts(row: Entity, value: str) -> None:
    del value
    for name in ("amount", "currentBalance", "availableBalance", "availableCredit", "creditLine", "principalBalance"):
        if name in row:
            row[name] = str(row[name])


def _foreign_account(row: Entity, value: str) -> None:
    del value
    if "accountId" in row:
        row["accountId"] = "00000000000000000000"


def _unknown_fields(row: Entity, value: str) -> None:
    del value
    row |= {"xFutureField": {"levels": [1, 2, {"deep": True}]}, "fiAttributes": [{"name": "branch", "value": "9"}]}


def _old_categories(row: Entity, value: str) -> None:
    del value
    if code := row.pop("categoryCode", None):
        row.pop("categoryType", None)
        row |= {"category": code, "subCategory": "MCC"}


_CHANGES: dict[str, Callable[[Entity, str], None]] = {
    "wrong_currency": _wrong_currency,
    "no_currency": _no_currency,
    "signed_amounts": _signed,
    "no_memo": _no_memo,
    "wrong_sign": _wrong_sign,
    "string_amounts": _string_amounts,
    "foreign_account": _foreign_account,
    "unknown_fields": _unknown_fields,
    "old_categories": _old_categories,
}


def after(board: FaultBoard, response: Response) -> Response:
    """The answer's bytes with the faults that break them."""
    body = bytes(response.body)
    if board.strikes("wrong_interaction_id") is not None:
        response.headers["x-fapi-interaction-id"] = str(uuid.UUID(int=0))
    if board.strikes("redirect") is not None:
        return _rewritten(response, b"", 302, {"location": FOREIGN})
    if board.strikes("garbage") is not None:
        return _rewritten(response, b"\x1f\x8b\xff{{<html>]]" + body[:20] + b"\x00")
    if board.strikes("nested") is not None:
        return _rewritten(response, b"[" * 100_000)
    if (megabytes := board.strikes("huge")) is not None:
        return _rewritten(response, body[:-1] + b" " * (int(megabytes) * 1024 * 1024) + body[-1:])
    if board.strikes("half_page") is not None:
        return _rewritten(response, body[: len(body) // 2])
    if board.strikes("cut_connection") is not None:
        return CutResponse(body, response.status_code, dict(response.headers))
    return response


def _rewritten(response: Response, body: bytes, status: int | None = None, headers: dict[str, str] | None = None) -> Response:
    kept = {name: value for name, value in response.headers.items() if name != "content-length"}
    return Response(body, status or response.status_code, kept | (headers or {}))


class CutResponse(Response):
    """Promises the whole body by its length, sends half of it and stops; the server then closes the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": bytes(self.body)[: len(self.body) // 2], "more_body": False})
