"""What the records promise the authorization server, on both databases: used once is used once, in every process and after a restart."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from parley.model.clients import Client, ClientProfile
from parley.model.linking import Asker, Errand, Origin
from parley.model.refusals import Fault
from parley.model.tokens import Authorization, AuthorizationRequest, Code, Token, TokenKind
from parley.store import Records, RecordsConflict
from tests.fixtures_postgres import RecordsBench

ISSUER = "https://chat.example/fapi"


def client(bench: RecordsBench, name: str = "partner", platform: str = "larkspur-partner") -> Client:
    return Client(name, ClientProfile.FAPI, platform, "A partner", "partner.example", ("https://partner.example/cb",), bench.now, jwks=b"{}")


def request(bench: RecordsBench) -> AuthorizationRequest:
    errand = Errand(Origin.OAUTH, "larkspur-partner", "api", Asker("A partner", "partner.example"), conversation="c1")
    return AuthorizationRequest(
        ISSUER, "partner", "https://partner.example/cb", "s", "c" * 43, "aud", errand, "seen", bench.now + timedelta(minutes=5)
    )


def allowed(bench: RecordsBench, customer: str, **changes: object) -> tuple[Authorization, bytes, Code]:
    authorization = Authorization(
        id="authorization-1", client="partner", issuer=ISSUER, audience="aud", customer=customer, platform="larkspur-partner", channel="api",
        conversation="c1", grants=("g1",), version=1, created_at=bench.now, until=bench.now + timedelta(days=90),
    )  # fmt: skip
    authorization = msgspec.structs.replace(authorization, **changes)
    code = Code(
        client="partner", issuer=ISSUER, redirect_uri="https://partner.example/cb", challenge="c" * 43, jkt=None, authorization=authorization.id,
        version=authorization.version, family=secrets.token_bytes(16), expires_at=bench.now + timedelta(seconds=60),
    )  # fmt: skip
    return authorization, secrets.token_bytes(32), code


def token(bench: RecordsBench, code: Code, kind: TokenKind = TokenKind.ACCESS, seconds: int = 300) -> tuple[bytes, Token]:
    ends = bench.now + timedelta(seconds=seconds)
    made = Token(kind, "partner", ISSUER, "aud", code.authorization, code.version, code.family, "jkt", bench.now, ends)
    return secrets.token_bytes(32), made


async def with_tokens(bench: RecordsBench, records: Records) -> tuple[str, bytes, Code, bytes, bytes]:
    """(customer, code hash, code, access token's hash, refresh token's hash) of a whole flow."""
    customer, _ = await bench.linked(records)
    authorization, code_hash, code = allowed(bench, customer)
    await records.add_authorization(authorization, code_hash, code)
    assert await records.use_code(code_hash, bench.now)
    access, refresh = token(bench, code), token(bench, code, TokenKind.REFRESH, 86_400)
    assert await records.add_tokens((access, refresh), code_hash=code_hash)
    return customer, code_hash, code, access[0], refresh[0]


def test_a_client_is_added_once_and_its_platform_is_its_own(bench_of_records: RecordsBench) -> None:
    bench = bench_of_records

    async def story(records: Records) -> None:
        await records.add_client(client(bench))
        for other in (client(bench), client(bench, "another")):
            with pytest.raises(RecordsConflict):
                await records.add_client(other)
        await records.add_client(client(bench, "another", "another-platform"))
        assert [each.id for each in await records.clients()] == ["another", "partner"]
        assert await records.find_client("partner") == client(bench)
        assert await records.remove_client("partner")
        assert not await records.remove_client("partner")
        assert await records.find_client("partner") is None

    bench.run(story)


def test_a_request_waits_until_it_is_taken_once(bench_of_records: RecordsBench) -> None:
    bench = bench_of_records

    async def story(records: Records) -> None:
        other, reference = await bench.second(), secrets.token_bytes(32)
        await records.add_request(reference, request(bench))
        assert await other.peek_request(reference, bench.now) == request(bench)
        taken = await asyncio.gather(*(each.take_request(reference, bench.now) for each in (records, other) * 8))
        assert sum(each is not None for each in taken) == 1
        await records.add_request(reference, request(bench))
        assert await records.peek_request(reference, bench.now + timedelta(minutes=5)) is None

    bench.run(story)


def test_of_sixteen_uses_of_a_code_in_two_processes_one_wins_and_its_tokens_end(bench_of_records: RecordsBench) -> None:
    bench = bench_of_records

    async def story(records: Records) -> None:
        other = await bench.second()
        customer, _ = await bench.linked(records)
        authorization, code_hash, code = allowed(bench, customer)
        await records.add_authorization(authorization, code_hash, code)

        async def use(each: Records) -> bytes | None:
            if not await each.use_code(code_hash, bench.now):
                return None
            made = token(bench, code)
            return made[0] if await each.add_tokens((made,), code_hash=code_hash) else None

        won = [each for each in await asyncio.gather(*(use(each) for each in (records, other) * 8)) if each is not None]
        assert len(won) <= 1
        for each in won:
            assert await records.find_token(each, bench.now) is None

    bench.run(story)


def test_a_code_is_good_for_a_minute_and_stays_used_after_a_restart(bench_of_records: RecordsBench) -> None:
    bench = bench_of_records
    codes: list[bytes] = []

    async def before(records: Records) -> None:
        customer, _ = await bench.linked(records)
        for name in ("authorization-1", "authorization-2"):
            authorization, code_hash, code = allowed(bench, customer, id=name)
            await records.add_authorization(authorization, code_hash, code)
            codes.append(code_hash)
        assert await records.use_code(codes[0], bench.now)

    async def after(records: Records) -> None:
        assert not await records.use_code(codes[0], bench.now)
        assert not await records.use_code(codes[1], bench.now + timedelta(seconds=60))
        assert not await records.use_code(secrets.token_bytes(32), bench.now)

    bench.run(before)
    bench.run(after)


def test_a_refresh_token_that_rotates_is_used_once_or_its_family_ends(bench_of_records: RecordsBench) -> None:
    bench = bench_of_records

    async def story(records: Records) -> None:
        other = await bench.second()
        _, _, code, access, refresh = await with_tokens(bench, records)

        async def rotate(each: Records) -> bytes | None:
            if await each.use_token(refresh, bench.now) is None:
                return None
            made = token(bench, code)
            return made[0] if await each.add_tokens((made,), rotated_hash=refresh) else None

        assert await rotate(records) is not None
        assert await records.find_token(access, bench.now) is not None
        assert await rotate(other) is None
        assert await records.find_token(access, bench.now) is None

    bench.run(story)


def test_a_new_version_ends_the_tokens_of_the_one_before(bench_of_records: RecordsBench) -> None:
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, _, code, access, _ = await with_tokens(bench, records)
        authorization, code_hash, newer = allowed(bench, customer, version=2)
        await records.add_authorization(authorization, code_hash, newer)
        assert await records.find_token(access, bench.now) is None
        assert not await records.add_tokens((token(bench, code),))
        with pytest.raises(RecordsConflict):
            await records.add_authorization(*allowed(bench, customer, version=2))
        await records.end_authorization("authorization-1")
        assert await records.find_authorization("authorization-1") is None
        assert not await records.add_tokens((token(bench, newer),))

    bench.run(story)


def test_C5_what_was_seen_once_is_known_to_every_process_and_after_a_restart(bench_of_records: RecordsBench) -> None:
    bench = bench_of_records
    until = bench.now + timedelta(minutes=2)

    async def before(records: Records) -> None:
        other = await bench.second()
        seen = await asyncio.gather(*(each.see_once("proof", "jti-1", until) for each in (records, other) * 8))
        assert sum(seen) == 1
        assert await records.see_once("assertion", "jti-1", until)

    async def after(records: Records) -> None:
        assert not await records.see_once("proof", "jti-1", until)

    bench.run(before)
    bench.run(after)


def test_what_has_ended_is_forgotten(bench_of_records: RecordsBench) -> None:
    bench = bench_of_records

    async def story(records: Records) -> None:
        _, code_hash, _, access, refresh = await with_tokens(bench, records)
        for number in range(600):
            await records.see_once("proof", str(number), bench.now + timedelta(seconds=1))
        await records.see_once("proof", "later", bench.now + timedelta(days=2))
        bench.now += timedelta(minutes=6)
        assert await records.prune_tokens() == 601
        assert await records.find_token(access, bench.now) is None
        assert await records.find_token(refresh, bench.now) is not None
        assert await records.peek_code(code_hash) is not None
        bench.now += timedelta(days=1)
        await records.prune_tokens()
        assert await records.peek_code(code_hash) is None
        assert not await records.see_once("proof", "later", bench.now)

    bench.run(story)


def test_an_erased_customer_leaves_no_authorization_and_no_token(bench_of_records: RecordsBench) -> None:
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, _, _, access, refresh = await with_tokens(bench, records)
        await records.erase(customer, bench.now)
        assert await records.find_authorization("authorization-1") is None
        for each in (access, refresh):
            assert await records.find_token(each, bench.now) is None
        with pytest.raises(RecordsConflict):
            await records.add_authorization(*allowed(bench, customer, id="authorization-2"))

    bench.run(story)


def test_a_note_of_ours_is_known_for_its_use_alone(bench_of_records: RecordsBench) -> None:
    async def story(records: Records) -> None:
        note = records.seal_note("nonce", b"12345678")
        assert records.open_note("nonce", note) == b"12345678"
        for forged in (note[:-1], note[:-1] + bytes([note[-1] ^ 1]), b"", b"x"):
            assert records.open_note("nonce", forged) is None
        assert records.open_note("another use", note) is None

    bench_of_records.run(story)


def test_rows_that_somebody_moved_do_not_open(tmp_path: Path) -> None:
    bench = RecordsBench(f"sqlite:///{tmp_path / 'data' / 'records.db'}", tmp_path / "keys")
    hashes: list[bytes] = []

    async def before(records: Records) -> None:
        _, _, _, access, refresh = await with_tokens(bench, records)
        hashes.extend((access, refresh))
        await records.add_client(client(bench))
        await records.add_client(client(bench, "another", "another-platform"))

    async def after(records: Records) -> None:
        with pytest.raises(Fault):
            await records.find_token(hashes[0], bench.now)
        with pytest.raises(Fault):
            await records.find_client("partner")

    bench.run(before)
    database = sqlite3.connect(tmp_path / "data" / "records.db")
    sealed = database.execute("SELECT sealed FROM tokens WHERE token_hash = ?", (hashes[1],)).fetchone()[0]
    database.execute("UPDATE tokens SET sealed = ? WHERE token_hash = ?", (sealed, hashes[0]))
    database.execute("UPDATE clients SET sealed = (SELECT sealed FROM clients WHERE id = 'another') WHERE id = 'partner'")
    database.commit()
    database.close()
    bench.run(after)


def test_no_token_and_no_name_of_a_conversation_is_in_the_file(tmp_path: Path) -> None:
    bench = RecordsBench(f"sqlite:///{tmp_path / 'data' / 'records.db'}", tmp_path / "keys")
    secret = secrets.token_urlsafe(32)

    async def story(records: Records) -> None:
        customer, _ = await bench.linked(records)
        authorization, _, code = allowed(bench, customer, id="telltale-grant-id", conversation="telltale-conversation")
        await records.add_authorization(authorization, sha256(secret.encode()).digest(), code)

    bench.run(story)
    found = b"".join(path.read_bytes() for path in (tmp_path / "data").iterdir())
    assert b"authorizations" in found
    for telltale in (secret, "telltale-grant-id", "telltale-conversation"):
        assert telltale.encode() not in found
