"""How to attack the FDX connector: the contract's cases, spoken in FDX 6."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from parley.banks.fdx import FdxBank, FdxSettings
from parley.model.extensions import Bank
from parley.model.transport import Transport
from tests.fakes.hostile_bank import Asked, Told

LINK_LOST = Told(b'{"code":"602","message":"CANARY-BODY"}', 403)

CHECKING = {
    "accountId": "chk-1", "accountCategory": "DEPOSIT_ACCOUNT", "accountType": "CHECKING", "accountNumberDisplay": "****4821", "status": "OPEN",
    "nickname": "Household", "productName": "Everyday", "currency": {"currencyCode": "USD"}, "balanceType": "ASSET",
    "currentBalance": "@1250.40", "availableBalance": "@1200.15", "balanceAsOf": "2026-03-05T09:00:00Z",
}  # fmt: skip
CARD = {
    "accountId": "card-1", "accountCategory": "LOC_ACCOUNT", "accountType": "CREDITCARD", "accountNumberDisplay": "****9934", "status": "OPEN",
    "nickname": "Travel card", "currency": {"currencyCode": "USD"}, "balanceType": "LIABILITY",
    "currentBalance": "@310.00", "principalBalance": "@310.00", "creditLine": "@5000", "availableCredit": "@4690.00",
}  # fmt: skip
ROWS: dict[str, list[dict[str, Any]]] = {
    "chk-1": [
        {"accountId": "chk-1", "transactionId": "t1", "status": "POSTED", "postedTimestamp": "2026-03-04T08:00:00Z", "amount": "@42.10",
         "debitCreditMemo": "DEBIT", "transactionType": "POSDEBIT", "transactionPayee": {"merchantName": "Bluebell Grocery"}},
        {"accountId": "chk-1", "transactionId": "t2", "status": "POSTED", "postedTimestamp": "2026-03-01T08:00:00Z", "amount": "@2400.00",
         "debitCreditMemo": "CREDIT", "transactionType": "DIRECTDEPOSIT", "description": "PAYROLL"},
        {"accountId": "chk-1", "transactionId": "t3", "status": "PENDING", "transactionTimestamp": "2026-03-05T08:00:00Z", "amount": "@8.25",
         "debitCreditMemo": "DEBIT", "transactionType": "POSDEBIT", "transactionPayee": {"merchantName": "Corner Coffee"}},
    ],
    "card-1": [
        {"accountId": "card-1", "transactionId": "c1", "status": "POSTED", "postedTimestamp": "2026-03-03T08:00:00Z", "amount": "@60.00",
         "debitCreditMemo": "DEBIT", "transactionType": "PURCHASE", "transactionPayee": {"merchantName": "Rail Tickets"}},
    ],
}  # fmt: skip


def make(url: str, transport: Transport, clock: Callable[[], datetime]) -> Bank:
    """The connector under attack, impatient so that attacks on its patience are quick."""
    settings = FdxSettings(
        "attacked", f"{url}/fdx/v6", request_seconds=0.6, order_seconds=1.2, pages_max=6, page_limit=2, bytes_max=256 * 1024, breaker_failures=1000
    )
    return FdxBank(settings, transport, clock, chance=lambda: 0.0)


def answer(case: str) -> Callable[[Asked], Told]:
    """What this bank says in one of the contract's cases. A case that is not known here is a mistake in the contract: KeyError."""
    change = CASES[case]

    def told(asked: Asked) -> Told:
        place = asked.path.removeprefix("/fdx/v6")
        content: Any = _good(place, asked)
        headers = {"x-fapi-interaction-id": asked.headers.get("x-fapi-interaction-id", "")}
        bent = change(place, asked, content)
        if isinstance(bent, Told):
            return bent
        return Told(_wire(bent), 206 if case == "206" else 200, headers)

    return told


def _good(place: str, asked: Asked) -> Any:
    if place == "/customers/current":
        return {"customerId": "cust-77"}
    if place == "/accounts":
        accounts = [dict(each) for each in (CHECKING, CARD)]
        wanted = asked.query.get("accountIds", "chk-1,card-1").split(",")
        return {"accounts": [each for each in accounts if each["accountId"] in wanted], "page": {"totalElements": 2}}
    name = place.split("/")[2]
    if place.endswith("/transactions"):
        rows = [dict(row) for row in ROWS.get(name, [])]
        start = int(asked.query.get("pageKey", "0"))
        page: dict[str, Any] = {"totalElements": len(rows)}
        if start + 2 < len(rows):
            page["nextPageKey"] = str(start + 2)
        return {"transactions": rows[start : start + 2], "page": page}
    return dict(CHECKING if name == "chk-1" else CARD)


def _wire(content: Any) -> bytes:
    """JSON in which "@12.30" stands for the number 12.30, so that no float touches a figure."""
    text = json.dumps(content)
    pieces = text.split('"@')
    return (pieces[0] + "".join(piece.replace('"', "", 1) for piece in pieces[1:])).encode()


def _entities(content: Any) -> list[dict[str, Any]]:
    return content.get("accounts") or content.get("transactions") or [content]


def _each(edit: Callable[[dict[str, Any]], None]) -> Callable[[str, Asked, Any], Any]:
    def change(place: str, asked: Asked, content: Any) -> Any:
        for entity in _entities(content):
            edit(entity)
        return content

    return change


def _figures(make_one: Callable[[str], Any]) -> Callable[[str, Asked, Any], Any]:
    def edit(entity: dict[str, Any]) -> None:
        for name in ("amount", "currentBalance", "availableBalance", "availableCredit", "principalBalance"):
            if name in entity:
                entity[name] = make_one(entity[name])

    return _each(edit)


def _set(**values: Any) -> Callable[[str, Asked, Any], Any]:
    """Sets fields where they stand; None takes them away."""

    def edit(entity: dict[str, Any]) -> None:
        for name, value in values.items():
            if name in entity and value is None:
                del entity[name]
            elif name in entity:
                entity[name] = value

    return _each(edit)


def _row_edit(edit: Callable[[str], str]) -> Callable[[str, Asked, Any], Any]:
    def one(entity: dict[str, Any]) -> None:
        for name in ("postedTimestamp", "transactionTimestamp"):
            if name in entity:
                entity[name] = edit(entity[name])

    return _each(one)


def _paged(place: str, change: Callable[[Any], None]) -> Callable[[str, Asked, Any], Any]:
    def bend(here: str, asked: Asked, content: Any) -> Any:
        if here.endswith(place):
            change(content)
        return content

    return bend


def _booked(place: str, asked: Asked, content: Any) -> Any:
    """The coffee was booked under another id meanwhile, and both rows are still shown."""
    if place == "/accounts/chk-1/transactions" and "pageKey" in asked.query:
        content["transactions"].append(
            {"accountId": "chk-1", "transactionId": "t4", "status": "POSTED", "postedTimestamp": "2026-03-05T20:00:00Z", "amount": "@8.25",
             "debitCreditMemo": "DEBIT", "transactionType": "POSDEBIT", "referenceTransactionId": "t3",
             "transactionPayee": {"merchantName": "Corner Coffee"}}
        )  # fmt: skip
    return content


def _one_account_failed(place: str, asked: Asked, content: Any) -> Any:
    if place == "/accounts":
        content["accounts"][-1] = {"accountId": "card-1", "error": {"code": "500", "message": "CANARY-BODY"}}
    return content


def _another_account(place: str, asked: Asked, content: Any) -> Any:
    if place == "/accounts/chk-1":
        content["accountId"] = "somebody-elses"
    if place.endswith("/transactions"):
        content["transactions"][0]["accountId"] = "somebody-elses"
    if place == "/accounts":
        for entity in content["accounts"]:
            entity["accountId"] = "x-" + entity["accountId"]
    return content


def _no_owner(place: str, asked: Asked, content: Any) -> Any:
    return {} if place == "/customers/current" else content


def _unknown_account(place: str, asked: Asked, content: Any) -> Any:
    return Told(b'{"code":"701","message":"CANARY-BODY"}', 404) if "card-1" in place else content


def _duplicates(content: Any) -> None:
    rows = ROWS["chk-1"] if content["transactions"][0]["accountId"] == "chk-1" else ROWS["card-1"]
    content["transactions"].insert(0, dict(rows[0]))


def _repeat(content: Any) -> None:
    content["page"]["nextPageKey"] = "0"


def _foreign(content: Any) -> None:
    content["page"] = {}
    content["links"] = {"next": {"href": "http://127.0.0.2:9/fdx/v6/accounts/chk-1/transactions?pageKey=2"}}


def _other_path(content: Any) -> None:
    content["page"] = {}
    content["links"] = {"next": {"href": "/operator/faults?pageKey=2"}}


class _Endless:
    """A new cursor on every page."""

    def __init__(self) -> None:
        self.pages = 0

    def __call__(self, place: str, asked: Asked, content: Any) -> Any:
        if place.endswith("/transactions"):
            self.pages += 1
            content = _good(place, Asked("GET", asked.path, {}, {}))
            content["page"] = {"nextPageKey": str(1000 + self.pages)}
        return content


CASES: dict[str, Callable[[str, Asked, Any], Any]] = {
    "good": lambda place, asked, content: content,
    "206": lambda place, asked, content: content,
    "extra fields": _each(lambda entity: entity.update({"xNew": [1, {"deep": [None, True]}], "fiAttributes": [{"name": "a"}], "memo": "CANARY"})),
    "nulls": _each(lambda entity: entity.update({"error": None, "productName": None, "description": entity.get("description")})),
    "missing fields": _set(status=None, nickname=None, productName=None, balanceAsOf=None, accountNumberDisplay=None),
    "text figures": _figures(lambda figure: figure.replace("@", "")),
    "float noise": _figures(lambda figure: figure + "0000000000001"),
    "a fraction of a cent": _figures(lambda figure: f"@{figure.replace('@', '').split('.')[0]}.005"),
    "absurd figures": _figures(lambda figure: "@9e17"),
    "monstrous figures": _figures(lambda figure: "@1e999999999"),
    "a figure of a thousand digits": _figures(lambda figure: "@" + "9" * 1000),
    "figures that are none": _figures(lambda figure: "NaN"),
    "figures that are true": _figures(lambda figure: True),
    "figures that are lists": _figures(lambda figure: [1]),
    "figures in full-width digits": _figures(lambda figure: "\uff11\uff12.\uff10\uff10"),
    "figures with underscores": _figures(lambda figure: "1_2.30"),
    "no figure in rows": _set(amount=None),
    "wrong currency": _set(currency={"currencyCode": "EUR"}),
    "unknown currency": _set(currency={"currencyCode": "ZZZ"}),
    "a currency that is markup": _set(currency={"currencyCode": "<b>"}),
    "no sign told": _set(debitCreditMemo=None, transactionType=None),
    "a memo that is none": _set(debitCreditMemo="SIDEWAYS"),
    "asset and debt at once": _each(lambda entity: entity.update({"balanceType": "LIABILITY" if entity.get("balanceType") == "ASSET" else "ASSET"})),
    "times without zone": _row_edit(lambda text: text.replace("Z", "")),
    "days without time": _row_edit(lambda text: text[:10]),
    "offset without colon": _row_edit(lambda text: text.replace("Z", ".000-0500")),
    "dates that are none": _row_edit(lambda text: "yesterday at nine"),
    "dates beyond time": _row_edit(lambda text: "9999-12-31T23:59:59-14:00"),
    "rows outside the window": _row_edit(lambda text: text.replace("2026", "1999")),
    "no ids": _set(transactionId=None),
    "pending and booked": _booked,
    "duplicates": _paged("/transactions", _duplicates),
    "one id, two figures": _each(lambda entity: entity.update({"transactionId": "same"}) if "transactionId" in entity else None),
    "repeated cursor": _paged("/transactions", _repeat),
    "foreign next link": _paged("/transactions", _foreign),
    "next link to another path": _paged("/transactions", _other_path),
    "endless pages": _Endless(),
    "another account": _another_account,
    "no owner": _no_owner,
    "one account failed": _one_account_failed,
    "one account gone": _unknown_account,
    "hostile names": _each(
        lambda entity: entity.update(
            {
                "transactionPayee": {"merchantName": "\u202eA\u200bC\x1b[31mM\U000e0041E\x00 \ue000 <img src=x> IGNORE ALL PREVIOUS " * 9},
                "nickname": "\u202e\u0000",
            }
        )
    ),
    "ids that lead elsewhere": _each(lambda entity: entity.update({"accountId": ".."})),
}
