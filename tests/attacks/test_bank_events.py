"""C10 for the bank's own events: nobody but the bank ends a consent, nothing that a stranger sends is parsed, and no event is lost."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some
from starlette.applications import Starlette
from starlette.types import Message

from parley.authorization import bank_events
from parley.authorization.bank_events import BODY_BYTES_MAX, BadSecretFile, bank_event_routes, read_secrets, signature
from parley.authorization.grants import GrantDesk
from parley.channels.web import ERROR_HANDLERS
from parley.model.refusals import ForgedMessage, LogUnavailable, RecordsUnavailable
from parley.proof import Inclusion
from parley.store import Records
from tests.fakes.oauth_house import QuietLog
from tests.fixtures_postgres import RecordsBench

SECRET, NEXT, FOREIGN = b"first-secret-of-the-test-bank!!!", b"second-secret-of-the-test-bank!!", b"a secret that the bank never had"
CONSENT = "bank-consent-first"
BODY = msgspec.json.encode({"type": "consent.ended", "consent_id": CONSENT})
Headers = Sequence[tuple[str, str]]


@dataclass
class Door:
    """The endpoint over real records; `ended` is what reached the desk, `faults` what it meets there, one for each call."""

    bench: RecordsBench
    records: Records
    ended: list[tuple[str, str]] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def app(self, records: Records | None = None) -> Starlette:
        async def end(bank: str, consent_id: str) -> int:
            self.ended.append((bank, consent_id))
            if self.faults:
                raise self.faults.pop()
            return 1

        routes = bank_event_routes(
            secrets={"oakbank": (SECRET, NEXT)},
            ended=end,
            records=records or self.records,
            clock=lambda: self.bench.now,
            on_fault=self.broken.append,
        )
        app = Starlette(routes=routes, exception_handlers=dict(ERROR_HANDLERS))
        app.router.redirect_slashes = False
        return app

    async def send(
        self, headers: Headers, body: bytes | Iterable[bytes] = BODY, *, bank: str = "oakbank", records: Records | None = None
    ) -> tuple[int, Any]:
        """(status, code told) of one request; a body in parts is sent as long as it is read."""
        parts = iter([body] if isinstance(body, bytes) else body)
        told: list[Message] = []

        async def receive() -> Message:
            part = next(parts, None)
            return {"type": "http.request", "body": part or b"", "more_body": part is not None}

        async def send(message: Message) -> None:
            told.append(message)

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": f"/bank/events/{unquote(bank)}",
            "raw_path": f"/bank/events/{bank}".encode(), "root_path": "", "query_string": b"", "scheme": "http", "server": ("house.test", 80),
            "client": ("192.0.2.7", 4711), "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
        }  # fmt: skip
        await self.app(records)(scope, receive, send)
        content = b"".join(message.get("body", b"") for message in told)
        return told[0]["status"], msgspec.json.decode(content)["code"] if content else None

    def signed(self, body: bytes = BODY, *, name: str = "msg_1", at: str | float | None = None, secret: bytes = SECRET) -> list[tuple[str, str]]:
        sent_at = str(at if at is not None else int(self.bench.now.timestamp()))
        value = signature(secret, f"{name}.{sent_at}.".encode() + body)
        return [("webhook-id", name), ("webhook-timestamp", sent_at), ("webhook-signature", value)]


def at_the_door(bench: RecordsBench, story: Callable[[Door], Awaitable[None]]) -> None:
    async def whole(records: Records) -> None:
        door = Door(bench, records)
        await story(door)
        assert door.broken == []

    bench.run(whole)


@pytest.fixture
def bench(tmp_path: Path) -> RecordsBench:
    return RecordsBench(f"sqlite:///{tmp_path / 'data' / 'records.db'}", tmp_path / "keys")


def test_C10_the_banks_event_ends_the_consent_that_it_names(bench: RecordsBench) -> None:
    async def story(door: Door) -> None:
        assert (await door.send(door.signed()))[0] == 202
        assert door.ended == [("oakbank", CONSENT)]

    at_the_door(bench, story)


def test_C10_a_repeat_is_heard_once_by_all_processes_and_after_a_restart(bench_of_records: RecordsBench) -> None:
    async def story(door: Door) -> None:
        assert (await door.send(door.signed()))[0] == 202
        assert (await door.send(door.signed()))[0] == 202
        bench_of_records.now += timedelta(minutes=4)
        assert (await door.send(door.signed(), records=await bench_of_records.second()))[0] == 202
        assert door.ended == [("oakbank", CONSENT)]

    at_the_door(bench_of_records, story)


def test_C10_an_event_that_could_not_be_worked_on_is_not_taken_for_heard(bench: RecordsBench) -> None:
    async def story(door: Door) -> None:
        door.faults = [RecordsUnavailable()]
        assert (await door.send(door.signed()))[0] == 503
        assert (await door.send(door.signed()))[0] == 202
        assert len(door.ended) == 2

    at_the_door(bench, story)


def test_C10_a_log_that_is_down_does_not_hold_the_bank_up(bench: RecordsBench) -> None:
    """The grants are over in the records by then, and the log is told later."""

    async def story(door: Door) -> None:
        door.faults = [LogUnavailable()]
        assert (await door.send(door.signed()))[0] == 202
        assert (await door.send(door.signed()))[0] == 202
        assert len(door.ended) == 1

    at_the_door(bench, story)


@pytest.mark.parametrize("seconds", [-301, 301, -86_400, 10**10])
def test_C10_a_message_from_another_time_is_nobodys(bench: RecordsBench, seconds: int) -> None:
    async def story(door: Door) -> None:
        answer = await door.send(door.signed(at=int(bench.now.timestamp()) + seconds))
        assert answer == (401, "forged_message")
        assert door.ended == []

    at_the_door(bench, story)


@pytest.mark.parametrize("seconds", [-300, 0, 300])
def test_clocks_may_differ_by_five_minutes(bench: RecordsBench, seconds: int) -> None:
    async def story(door: Door) -> None:
        assert (await door.send(door.signed(at=int(bench.now.timestamp()) + seconds)))[0] == 202

    at_the_door(bench, story)


@pytest.mark.parametrize("written", ["NaN", "nan", "inf", "-1", "+{now}", "{now}.0", " {now}", "{now} ", "1e9", "", "0x5f", "9" * 400, "0{now}0"])
def test_C10_a_time_that_is_no_plain_number_is_nobodys_though_it_is_signed(bench: RecordsBench, written: str) -> None:
    async def story(door: Door) -> None:
        answer = await door.send(door.signed(at=written.replace("{now}", str(int(bench.now.timestamp())))))
        # Spaces around a header's value are no part of it, so what was signed is not what arrives.
        assert answer[0] == 401
        assert door.ended == []

    at_the_door(bench, story)


def damaged(headers: list[tuple[str, str]]) -> dict[str, Headers]:
    named = dict(headers)
    value = named["webhook-signature"]
    without = {name: [(other, text) for other, text in headers if other != name] for name in named}
    return {
        "no signature": without["webhook-signature"],
        "no id": without["webhook-id"],
        "no time": without["webhook-timestamp"],
        "nothing": [],
        "two signature headers": [*headers, ("webhook-signature", value)],
        "two ids": [*headers, ("webhook-id", "msg_1")],
        "two times": [*headers, ("webhook-timestamp", named["webhook-timestamp"])],
        "empty": [*without["webhook-signature"], ("webhook-signature", "")],
        "another version": [*without["webhook-signature"], ("webhook-signature", "v1a," + value[3:])],
        "no version": [*without["webhook-signature"], ("webhook-signature", value[3:])],
        "the half": [*without["webhook-signature"], ("webhook-signature", value[:20])],
        "another id": [*without["webhook-id"], ("webhook-id", "msg_2")],
        "an id with a full stop": [*without["webhook-id"], ("webhook-id", "msg.1")],
        "a long id": [*without["webhook-id"], ("webhook-id", "m" * 129)],
        "garbage": [*without["webhook-signature"], ("webhook-signature", "v1,\u00ff\u00fe,,=== v1, ,")],
        "many": [*without["webhook-signature"], ("webhook-signature", " ".join(["v1,AAAA"] * 50 + [value]))],
    }


@pytest.mark.parametrize("damage", sorted(damaged([("webhook-id", ""), ("webhook-timestamp", ""), ("webhook-signature", "")])))
def test_C10_without_the_banks_one_signature_nothing_is_heard_and_nothing_is_told(bench: RecordsBench, damage: str) -> None:
    async def story(door: Door) -> None:
        answer = await door.send(damaged(door.signed())[damage])
        assert answer == (401, "forged_message")
        assert door.ended == []

    at_the_door(bench, story)


def test_C10_a_foreign_secret_an_unsigned_change_and_another_banks_address_are_refused(bench: RecordsBench) -> None:
    async def story(door: Door) -> None:
        assert (await door.send(door.signed(secret=FOREIGN)))[0] == 401
        assert (await door.send(door.signed(secret=b"")))[0] == 401
        assert (await door.send(door.signed(), BODY.replace(b"first", b"other")))[0] == 401
        assert (await door.send(door.signed(), BODY + b" "))[0] == 401
        for bank in ("elmbank", "oakbank%00", "OAKBANK", "%2e%2e", "oakbank%2f"):
            assert (await door.send(door.signed(), bank=bank))[0] == 404
        assert door.ended == []

    at_the_door(bench, story)


def test_both_secrets_count_while_one_takes_the_others_place(bench: RecordsBench) -> None:
    async def story(door: Door) -> None:
        assert (await door.send(door.signed(name="msg_1")))[0] == 202
        assert (await door.send(door.signed(name="msg_2", secret=NEXT)))[0] == 202
        old, new = door.signed(name="msg_3", secret=FOREIGN), door.signed(name="msg_3")
        both = [*new[:2], ("webhook-signature", f"{old[2][1]} {new[2][1]}")]
        assert (await door.send(both))[0] == 202
        assert len(door.ended) == 3

    at_the_door(bench, story)


@pytest.mark.parametrize("body", [b"[" * 10_000, b'{"type":' * 1500, b"\xff\xfe", b"", b"null", b'{"type": 5}'])
def test_C10_nothing_is_parsed_before_the_signature_and_nonsense_of_the_bank_is_refused(
    bench: RecordsBench, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[bytes] = []
    read = bank_events._read

    def watched(found: bytes) -> Any:
        parsed.append(found)
        return read(found)

    monkeypatch.setattr(bank_events, "_read", watched)

    async def story(door: Door) -> None:
        assert (await door.send(door.signed(body, secret=FOREIGN), body))[0] == 401
        assert parsed == []
        answer = await door.send(door.signed(body), body)
        assert answer in {(400, "body_too_deep"), (400, "body_wrong_shape")}
        assert parsed == [body]
        assert door.ended == []

    at_the_door(bench, story)


def test_C10_ten_megabytes_are_not_read_though_they_are_signed(bench: RecordsBench) -> None:
    async def story(door: Door) -> None:
        body = b" " * 10_000_000
        assert (await door.send(door.signed(body), body))[0] == 413
        read = 0

        def endless() -> Iterator[bytes]:
            nonlocal read
            while True:
                read += 1024
                yield b" " * 1024

        assert (await door.send(door.signed(b""), endless()))[0] == 413
        assert read <= BODY_BYTES_MAX + 2048

    at_the_door(bench, story)


@pytest.mark.parametrize("told", [{"type": "consent.renewed", "consent_id": CONSENT}, {"type": "x", "data": {"deep": [1]}}])
def test_other_events_are_heard_and_change_nothing(bench: RecordsBench, told: dict[str, object]) -> None:
    async def story(door: Door) -> None:
        body = msgspec.json.encode(told)
        assert (await door.send(door.signed(body), body))[0] == 202
        assert door.ended == []

    at_the_door(bench, story)


@pytest.mark.parametrize("consent", ["", 7, None, "x" * 1025, ["x"]])
def test_an_end_without_a_consent_is_refused(bench: RecordsBench, consent: object) -> None:
    async def story(door: Door) -> None:
        body = msgspec.json.encode({"type": "consent.ended", "consent_id": consent})
        assert (await door.send(door.signed(body), body))[0] == 400
        assert door.ended == []

    at_the_door(bench, story)


@given(
    name=some.text(max_size=12), sent_at=some.text(max_size=12) | some.floats().map(str), value=some.text(max_size=60), body=some.binary(max_size=40)
)
def test_C10_whatever_strangers_send_is_nobodys(name: str, sent_at: str, value: str, body: bytes) -> None:
    found = {"webhook-id": [name], "webhook-timestamp": [sent_at], "webhook-signature": [value]}
    with pytest.raises(ForgedMessage):
        bank_events.verified(found.__getitem__, body, (SECRET, NEXT), datetime(2026, 11, 22, tzinfo=UTC))


class NeverAsked(QuietLog):
    async def record(self, entry: bytes, side: bytes, *, handle: bytes | None, version: int | None) -> Inclusion:
        raise LogUnavailable("nothing is recorded here")


def desk_of(bench: RecordsBench, records: Records) -> GrantDesk:
    return GrantDesk(
        records=records, log=NeverAsked(), platform="chat.example", policy_digest=lambda: "digest", clock=lambda: bench.now, random_bytes=bytes
    )


def test_the_grants_end_though_the_bank_refused_a_token_before_its_event_came(bench_of_records: RecordsBench) -> None:
    """So after a crash between the two steps: the bank sends again, and the consent is still known."""

    async def story(records: Records) -> None:
        customer, _ = await bench_of_records.linked(records)
        await records.mark_link_lost(customer)
        desk = desk_of(bench_of_records, records)
        assert await desk.ended_at_bank("oakbank", CONSENT) == 1
        assert not await records.grants_of(customer, active_only=True, now=bench_of_records.now)
        assert await desk.ended_at_bank("oakbank", CONSENT) == 0

    bench_of_records.run(story)


def test_the_end_of_an_earlier_consent_leaves_the_one_that_took_its_place(bench_of_records: RecordsBench) -> None:
    async def story(records: Records) -> None:
        customer, _ = await bench_of_records.linked(records)
        await records.mark_link_lost(customer)
        await records.save_bank_link("oakbank", "owner-1", bench_of_records.tokens("second"), (bench_of_records.account(),))
        desk = desk_of(bench_of_records, records)
        assert await desk.ended_at_bank("oakbank", CONSENT) == 0
        assert await desk.ended_at_bank("elmbank", "bank-consent-second") == 0
        assert await records.bank_tokens(customer) is not None

    bench_of_records.run(story)


def written(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def line(secret: bytes) -> bytes:
    return b"whsec_" + b64encode(secret) + b"\n"


def test_secrets_come_from_a_file_of_our_own(tmp_path: Path) -> None:
    assert read_secrets(written(tmp_path / "one", line(SECRET))) == (SECRET,)
    assert read_secrets(written(tmp_path / "two", line(SECRET) + line(NEXT))) == (SECRET, NEXT)


@pytest.mark.parametrize(
    ("content", "mode"),
    [
        (line(SECRET), 0o640),
        (line(SECRET), 0o604),
        (b"", 0o600),
        (b"whsec_", 0o600),
        (b64encode(SECRET), 0o600),
        (line(b"short"), 0o600),
        (line(SECRET) * 3, 0o600),
        (line(SECRET) + b"\n" * 2000, 0o600),
        (b"whsec_" + b"!" * 40, 0o600),
        (b"\xff" * 40, 0o600),
    ],
)
def test_a_file_that_others_read_or_that_holds_no_secret_stops_the_start(tmp_path: Path, content: bytes, mode: int) -> None:
    with pytest.raises(BadSecretFile) as refused:
        read_secrets(written(tmp_path / "secret", content, mode))
    assert b64encode(SECRET).decode() not in str(refused.value)


def test_a_missing_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(BadSecretFile):
        read_secrets(tmp_path / "none")
