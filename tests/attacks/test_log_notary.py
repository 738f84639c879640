"""What must not work against a real notary process: bad entries, lost races, bad files, bad disks, bad neighbours."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from parley.log.audit import audit
from parley.log.client import NotaryClient
from parley.log.errors import GrantChanged, GrantClosed, LogError, LogRefused, LogUnavailable
from parley.log.lock import SLOT_OFFSETS, slot
from parley.log.wire import FRAME_BYTES_MAX, Head, Record, frame
from parley.proof import Verifier, canonical, leaf_hash, verify_consistency
from tests.notary_process import NotaryProcess

BUCKET = int(time.time()) // 600 * 600
COMMITMENT = b64encode(bytes(32)).decode()


def entry(kind: str = "release", **changed: str | int) -> bytes:
    fields: dict[str, str | int] = {"b": BUCKET, "c": COMMITMENT, "k": kind, "u": "dpv:RequestedServiceProvision", "v": 1}
    return canonical({**fields, **changed})


def without(name: str) -> bytes:
    fields = {"b": BUCKET, "c": COMMITMENT, "k": "release", "u": "dpv:RequestedServiceProvision", "v": 1}
    return canonical({key: value for key, value in fields.items() if key != name})


@pytest.fixture
def notary(tmp_path: Path) -> Iterator[NotaryProcess]:
    process = NotaryProcess(tmp_path, tmp_path / "s", origin="bank.example/log")
    process.start()
    yield process
    process.stop()


def run(notary: NotaryProcess, story: Callable[[NotaryClient], Awaitable[Any]], call_seconds_max: float = 20.0) -> Any:
    async def whole() -> Any:
        client = NotaryClient(notary.socket_path, call_seconds_max=call_seconds_max)
        try:
            return await story(client)
        finally:
            await client.aclose()

    return uvloop.run(whole())


async def opened(client: NotaryClient, version: int = 1) -> bytes:
    handle = os.urandom(16)
    await client.open_grant(entry("grant"), handle=handle, version=version)
    return handle


async def code_of(call: Awaitable[object]) -> str:
    with pytest.raises(LogError) as refused:
        await call
    return refused.value.code


def attempt(data: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "parley.log.notary", "--data", str(data), "--socket", str(data / "other"), "--lock-wait-seconds", "0"]
    return subprocess.run([*command, *options], capture_output=True, text=True, timeout=30, check=False)


def ended(notary: NotaryProcess) -> int:
    assert notary._child is not None
    return notary._child.wait(30)


# What an entry may be


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (entry(p="x" * 500), "entry_too_large"),
        (b"", "entry_not_canonical"),
        (b"{}", "entry_fields"),
        (b'{"b": 0,"k":"policy","v":1}', "entry_not_canonical"),
        (b'{"k":"policy","b":0,"v":1}', "entry_not_canonical"),
        (b'{"b":0,"k":"policy","k":"policy","v":1}', "entry_not_canonical"),
        (b'{"b":0.0,"k":"policy","v":1}', "entry_not_canonical"),
        (b'{"b":0,"k":"policy","v":true}', "entry_not_canonical"),
        (b'{"b":0,"k":"policy","n":{},"v":1}', "entry_not_canonical"),
        (b'{"b":0,"k":"policy","n":9007199254740993,"v":1}', "entry_not_canonical"),
        (b'{"b":0,"k":"policy","n":"\\n","v":1}', "entry_not_canonical"),
        ('{"b":0,"k":"policy","n":"é","v":1}'.encode(), "entry_not_canonical"),
        (b'{"b":0,"k":"policy","n":"\x7f","v":1}', "entry_not_canonical"),
        (b'{"n":' + b"[" * 500, "entry_not_canonical"),
        (b"[]", "entry_not_canonical"),
        (b"\xff\x00", "entry_not_canonical"),
        (entry("advert"), "kind_unknown"),
        (entry("grant"), "kind_reserved"),
        (entry("revoke"), "kind_reserved"),
        (entry("heartbeat"), "kind_reserved"),
        (entry("policy", v=2), "entry_fields"),
        (entry("policy", b=BUCKET + 1), "entry_fields"),
        (entry("policy", b=-600), "entry_fields"),
        (entry("policy", b="600"), "entry_fields"),
        (without("b"), "entry_fields"),
        (without("k"), "kind_unknown"),
        (without("u"), "purpose_missing"),
        (without("c"), "commitment_missing"),
        (entry(u="dpv:Advertising"), "purpose_forbidden"),
        (entry(u="DPV:targetedadvertising"), "purpose_forbidden"),
        (entry(u="https://w3id.org/dpv#SellDataToThirdParties"), "purpose_forbidden"),
        (entry(), "handle_required"),
        (entry("policy", b=BUCKET + 86_400), "clock_ahead"),
    ],
)
def test_an_entry_that_breaks_a_rule_is_refused_with_its_code(shared: NotaryProcess, bad: bytes, code: str) -> None:
    async def story(client: NotaryClient) -> None:
        before = await client.head()
        assert await code_of(client.record(bad)) == code
        assert await client.head() == before

    run(shared, story)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NotaryProcess]:
    folder = tmp_path_factory.mktemp("shared")
    process = NotaryProcess(folder, folder / "s")
    process.start()
    yield process
    process.stop()


def test_side_handle_and_version_have_their_limits(shared: NotaryProcess) -> None:
    async def story(client: NotaryClient) -> list[str]:
        handle = bytes(16)
        calls = [
            client.record(entry("policy"), bytes(8193)),
            client.record(entry(), handle=bytes(15), version=1),
            client.record(entry(), handle=handle),
            client.record(entry("policy"), version=1),
            client.record(entry(), handle=handle, version=0),
            client.record(entry(), handle=handle, version=-1),
            client.open_grant(entry("grant"), handle=handle, version=0),
            client.open_grant(entry("revoke"), handle=handle, version=1),
            client.close_grant(entry("grant"), handle=handle),
            client.close_grant(entry("revoke"), handle=handle),
            client.prove(10**6),
            client.prove(-1),
            client.pages(-1, 5),
            client.pages(0, 0),
        ]
        return [await code_of(call) for call in calls]

    assert run(shared, story) == [
        "side_too_large",
        "handle_malformed",
        "version_malformed",
        "version_malformed",
        "version_malformed",
        "version_malformed",
        "version_malformed",
        "kind_reserved",
        "kind_reserved",
        "grant_unknown",
        "index_unknown",
        "index_unknown",
        "index_unknown",
        "index_unknown",
    ]


def test_a_clock_gone_back_stops_the_log_and_one_bucket_back_is_still_now(notary: NotaryProcess) -> None:
    async def story(client: NotaryClient) -> None:
        await client.record(entry("policy"))
        await client.record(entry("policy", b=BUCKET - 600))
        assert await code_of(client.record(entry("policy", b=BUCKET - 1200))) == "clock_back"

    run(notary, story)
    notary.kill()
    notary.start()

    async def again(client: NotaryClient) -> None:
        assert await code_of(client.record(entry("policy", b=BUCKET - 1200))) == "clock_back"

    run(notary, again)


# Grants and the race


def test_a_release_passes_only_under_an_open_grant_at_its_version(notary: NotaryProcess) -> None:
    async def story(client: NotaryClient) -> None:
        handle = await opened(client)
        await client.record(entry(), handle=handle, version=1)
        with pytest.raises(GrantChanged):
            await client.record(entry(), handle=handle, version=2)
        with pytest.raises(GrantChanged):
            await client.record(entry(), handle=os.urandom(16), version=1)
        with pytest.raises(GrantChanged):
            await client.open_grant(entry("grant"), handle=handle, version=1)
        await client.open_grant(entry("grant"), handle=handle, version=2)
        with pytest.raises(GrantChanged):
            await client.record(entry(), handle=handle, version=1)
        await client.record(entry(), handle=handle, version=2)
        await client.close_grant(entry("revoke"), handle=handle)
        size = len(await client.pages(0, 100))
        with pytest.raises(GrantClosed):
            await client.close_grant(entry("revoke"), handle=handle)
        with pytest.raises(GrantChanged):
            await client.record(entry(), handle=handle, version=2)
        assert len(await client.pages(0, 100)) == size

    run(notary, story)


def test_the_race_with_a_release_in_flight_is_won_by_the_revocation(notary: NotaryProcess) -> None:
    async def story(client: NotaryClient) -> None:
        other = NotaryClient(notary.socket_path, call_seconds_max=20)
        for _ in range(20):
            handle = await opened(client)
            releases = [asyncio.ensure_future(client.record(entry(), handle=handle, version=1)) for _ in range(40)]
            revoked = asyncio.ensure_future(other.close_grant(entry("revoke"), handle=handle))
            releases += [asyncio.ensure_future(client.record(entry(), handle=handle, version=1)) for _ in range(40)]
            border = (await revoked).index
            for result in await asyncio.gather(*releases, return_exceptions=True):
                assert isinstance(result, GrantChanged) or (not isinstance(result, BaseException) and result.index < border)
            with pytest.raises(GrantChanged):
                await client.record(entry(), handle=handle, version=1)
        await other.aclose()

    run(notary, story)


def test_a_revocation_survives_a_crash(notary: NotaryProcess) -> None:
    async def story(client: NotaryClient) -> tuple[bytes, bytes]:
        gone, kept = await opened(client), await opened(client)
        await client.close_grant(entry("revoke"), handle=gone)
        return gone, kept

    gone, kept = run(notary, story)
    notary.kill()
    notary.start()

    async def again(client: NotaryClient) -> None:
        with pytest.raises(GrantChanged):
            await client.record(entry(), handle=gone, version=1)
        await client.record(entry(), handle=kept, version=1)

    run(notary, again)


def test_nothing_in_the_notarys_files_ties_an_entry_to_a_grant(notary: NotaryProcess) -> None:
    async def story(client: NotaryClient) -> bytes:
        handle = await opened(client)
        await client.record(entry(), b"sealed", handle=handle, version=1)
        return handle

    handle = run(notary, story)
    with sqlite3.connect(notary.data / "notary" / "log.sqlite3") as database:
        for row in database.execute("SELECT entry, side FROM entries"):
            assert handle not in row[0] + row[1] and handle.hex().encode() not in row[0]
    database.close()


# The wire


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        (FRAME_BYTES_MAX + 1).to_bytes(4, "big"),
        b"\xff\xff\xff\xff",
        (3).to_bytes(4, "big") + b"abc",
        (1).to_bytes(4, "big") + b"\xc1",
        (5000).to_bytes(4, "big") + b"\x91" * 5000,
        frame(Head(1))[:-1] + b"\xc0",
        frame(Record(1, entry("policy"), b"")).replace(b"record", b"recorf"),
    ],
)
def test_a_client_that_speaks_nonsense_is_cut_off_and_nobody_else_notices(shared: NotaryProcess, sent: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(20)
        stranger.connect(str(shared.socket_path))
        stranger.sendall(sent)
        assert stranger.recv(100) == b""
    run(shared, lambda client: client.head())


def test_a_frame_cut_short_records_nothing(notary: NotaryProcess) -> None:
    whole = frame(Record(1, entry("policy"), b""))
    for end in range(1, len(whole)):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(notary.socket_path))
            stranger.sendall(whole[:end])
    assert run(notary, lambda client: client.pages(0, 5)) == []


def test_requests_that_arrive_byte_by_byte_are_still_read(notary: NotaryProcess) -> None:
    with socket.socket(socket.AF_UNIX) as slow:
        slow.settimeout(20)
        slow.connect(str(notary.socket_path))
        for byte in frame(Record(7, entry("policy"), b"")):
            slow.sendall(bytes([byte]))
        assert b"bank.example/log\n1\n" in slow.recv(4096)


def test_the_socket_and_the_keys_are_for_one_user_only(notary: NotaryProcess) -> None:
    folder = notary.data / "notary"
    assert notary.socket_path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    for name in ["log.key", "log.sqlite3", "head.lock"]:
        assert (folder / name).stat().st_mode & 0o077 == 0
    assert (folder / "log.vkey").read_text().startswith("bank.example/log+")


def test_too_many_connections_are_turned_away_and_make_room_again(notary: NotaryProcess) -> None:
    held = [socket.socket(socket.AF_UNIX) for _ in range(64)]
    for each in held:
        each.connect(str(notary.socket_path))
        each.settimeout(20)
        each.sendall(frame(Head(1)))
        assert each.recv(10)
    with socket.socket(socket.AF_UNIX) as extra:
        extra.settimeout(20)
        extra.connect(str(notary.socket_path))
        assert extra.recv(10) == b""
    for each in held:
        each.close()
    run(notary, lambda client: client.record(entry("policy")))


# When the notary is gone, slow, or ends


def test_without_a_notary_there_is_no_answer(tmp_path: Path) -> None:
    async def story() -> None:
        client = NotaryClient(tmp_path / "nobody", connect_seconds_max=0.05)
        with pytest.raises(LogUnavailable):
            await client.record(entry("policy"))

    uvloop.run(story())


def test_a_notary_that_hangs_is_given_up_on_in_time(notary: NotaryProcess) -> None:
    async def story(client: NotaryClient) -> None:
        await client.head()
        os.kill(notary.pid, signal.SIGSTOP)
        try:
            calls = [client.record(entry("policy")) for _ in range(5)]
            results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 30)
        finally:
            os.kill(notary.pid, signal.SIGCONT)
        assert all(isinstance(result, LogUnavailable) for result in results)

    run(notary, story, call_seconds_max=1.0)


def test_a_call_under_way_when_the_notary_dies_fails_and_the_next_one_finds_its_successor(notary: NotaryProcess) -> None:
    async def story(client: NotaryClient) -> None:
        await client.head()
        os.kill(notary.pid, signal.SIGSTOP)
        call = asyncio.ensure_future(client.record(entry("policy")))
        await asyncio.sleep(0)
        await asyncio.to_thread(notary.kill)
        with pytest.raises(LogUnavailable):
            await call
        await asyncio.to_thread(notary.start)
        await client.record(entry("policy"))

    run(notary, story)


def test_being_told_to_stop_it_commits_what_it_has_and_leaves_in_order(notary: NotaryProcess) -> None:
    async def story(client: NotaryClient) -> int:
        await client.head()
        calls = [asyncio.ensure_future(client.record(entry("policy", n=number))) for number in range(500)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert await asyncio.to_thread(notary.stop) == 0
        results = await asyncio.gather(*calls, return_exceptions=True)
        return sum(not isinstance(result, BaseException) for result in results)

    acknowledged = run(notary, story)
    report = audit(notary.data)
    assert report.sound and report.size >= acknowledged > 0
    assert not notary.socket_path.exists()


def test_it_does_not_outlive_its_parent(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from tests.notary_process import NotaryProcess\n"
        "notary = NotaryProcess(Path(sys.argv[1]), Path(sys.argv[1]) / 's'); notary.start(); print(notary.pid, flush=True); time.sleep(60)"
    )
    root = Path(__file__).parents[2]
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=root)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    child.wait(30)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux knows this way of waiting for a turn")
def test_it_does_not_push_the_gateway_off_a_busy_core(shared: NotaryProcess) -> None:
    assert os.sched_getscheduler(shared.pid) == os.SCHED_BATCH


# The disk


def test_when_a_write_fails_it_ends_at_once_and_loses_nothing_acknowledged(notary: NotaryProcess) -> None:
    acknowledged: dict[int, bytes] = {}

    async def fill(client: NotaryClient, worker: int) -> None:
        for number in range(10_000):
            written = entry("policy", n=number, w=worker)
            try:
                acknowledged[(await client.record(written, bytes(2000))).index] = written
            except LogError:
                return

    async def story(client: NotaryClient) -> None:
        await client.head()
        resource.prlimit(notary.pid, resource.RLIMIT_FSIZE, (400_000, 400_000))
        await asyncio.gather(*(fill(client, worker) for worker in range(8)))

    run(notary, story)
    assert ended(notary) == 74
    assert acknowledged
    notary.start()
    report = audit(notary.data)
    assert report.sound and report.size >= len(acknowledged)

    async def check(client: NotaryClient) -> None:
        verifier = Verifier(notary.vkey)
        for index, written in acknowledged.items():
            proved = await client.prove(index)
            assert proved.entry == written
            verifier.verify_inclusion(written, proved.inclusion)

    run(notary, check)


def test_another_writer_behind_its_back_stops_it(notary: NotaryProcess) -> None:
    run(notary, lambda client: client.record(entry("policy")))
    with (notary.data / "notary" / "head.lock").open("r+b") as lock:
        lock.seek(SLOT_OFFSETS[1])
        lock.write(slot(99, 2, bytes(32)))
    with pytest.raises(LogUnavailable):
        run(notary, lambda client: client.record(entry("policy")))
    assert ended(notary) == 74
    outcome = attempt(notary.data)
    assert outcome.returncode == 78


def test_two_notaries_cannot_hold_one_log(notary: NotaryProcess) -> None:
    outcome = attempt(notary.data)
    assert outcome.returncode == 75
    assert "Another notary" in outcome.stderr
    run(notary, lambda client: client.record(entry("policy")))


def test_a_restored_backup_is_noticed_and_the_way_out_is_named(notary: NotaryProcess, tmp_path: Path) -> None:
    folder = notary.data / "notary"
    run(notary, lambda client: client.record(entry("policy")))
    notary.stop()
    shutil.copy(folder / "log.sqlite3", tmp_path / "backup")
    notary.start()
    run(notary, lambda client: client.record(entry("policy", n=2)))
    notary.stop()
    shutil.copy(tmp_path / "backup", folder / "log.sqlite3")
    outcome = attempt(notary.data)
    assert outcome.returncode == 78
    assert "remembers 2 entries and the log has 1" in outcome.stderr and "--origin" in outcome.stderr


def test_another_history_of_the_same_length_is_noticed(notary: NotaryProcess, tmp_path: Path) -> None:
    folder = notary.data / "notary"
    notary.stop()
    shutil.copytree(folder, tmp_path / "early")
    for number in range(2):
        notary.start()
        run(notary, lambda client, number=number: client.record(entry("policy", n=number)))  # type: ignore[misc]
        notary.stop()
        if number == 0:
            shutil.copy(folder / "head.lock", tmp_path / "head")
            shutil.rmtree(folder)
            shutil.copytree(tmp_path / "early", folder)
    shutil.copy(tmp_path / "head", folder / "head.lock")
    outcome = attempt(notary.data)
    assert outcome.returncode == 78
    assert "another history" in outcome.stderr


def test_without_the_memory_of_its_head_a_log_does_not_go_on(notary: NotaryProcess) -> None:
    lock = notary.data / "notary" / "head.lock"
    run(notary, lambda client: client.record(entry("policy")))
    notary.stop()
    lock.write_bytes(b"something else")
    assert "[lock_damaged]" in attempt(notary.data).stderr
    lock.unlink()
    outcome = attempt(notary.data)
    assert outcome.returncode == 78 and "[rollback]" in outcome.stderr


def test_the_lock_file_may_lie_elsewhere_and_two_logs_cannot_share_it(tmp_path: Path) -> None:
    lock = tmp_path / "elsewhere"
    process = NotaryProcess(tmp_path / "one", tmp_path / "s", options=["--lock", str(lock)])
    process.start()
    try:
        run(process, lambda client: client.record(entry("policy")))
        assert lock.stat().st_mode & 0o777 == 0o600 and not (tmp_path / "one" / "notary" / "head.lock").exists()
        assert attempt(tmp_path / "two", "--lock", str(lock)).returncode == 75
    finally:
        process.stop()
    outcome = attempt(tmp_path / "two", "--lock", str(lock))
    assert outcome.returncode == 78 and "[rollback]" in outcome.stderr


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o606])
def test_a_key_that_others_can_read_is_not_used(notary: NotaryProcess, mode: int) -> None:
    notary.stop()
    (notary.data / "notary" / "log.key").chmod(mode)
    outcome = attempt(notary.data)
    assert outcome.returncode == 78 and "chmod 600" in outcome.stderr


def test_a_missing_or_exchanged_key_or_name_or_an_open_folder_stops_the_start(notary: NotaryProcess, tmp_path: Path) -> None:
    folder = notary.data / "notary"
    notary.stop()
    assert "keeps its name" in attempt(notary.data, "--origin", "other.example/log").stderr
    key = (folder / "log.key").read_bytes()
    (folder / "log.key").write_bytes(bytes(32))
    assert "not the one that founded" in attempt(notary.data).stderr
    (folder / "log.key").write_bytes(key[:31])
    assert "not the 32 bytes" in attempt(notary.data).stderr
    (folder / "log.key").unlink()
    assert "its key is not" in attempt(notary.data).stderr
    (folder / "log.key").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_bytes(key)
    assert attempt(notary.data).returncode == 78
    folder.chmod(0o755)
    assert attempt(notary.data).returncode == 78


@pytest.mark.parametrize("origin", ["with space", "with+plus", "x" * 129, "umlaut-ä", "line\nbreak"])
def test_a_name_that_would_break_the_checkpoint_is_refused(tmp_path: Path, origin: str) -> None:
    assert attempt(tmp_path, "--origin", origin).returncode == 78


def test_a_changed_entry_or_tile_or_head_on_disk_stops_the_start(notary: NotaryProcess) -> None:
    async def story(client: NotaryClient) -> None:
        await asyncio.gather(*(client.record(entry("policy", n=number)) for number in range(300)))

    run(notary, story)
    notary.stop()
    path = notary.data / "notary" / "log.sqlite3"
    honest = path.read_bytes()
    changes = [
        "UPDATE entries SET entry = x'7b7d' WHERE position = 299",
        "UPDATE tiles SET root = zeroblob(32)",
        "UPDATE heads SET signature = zeroblob(64)",
        "DELETE FROM entries WHERE position = 299",
        "UPDATE log SET origin = 'other.example/log'",
    ]
    for change in changes:
        path.write_bytes(honest)
        database = sqlite3.connect(path, isolation_level=None)
        database.execute(change)
        database.close()
        assert attempt(notary.data).returncode == 78, change


# What it hands out


def test_each_later_checkpoint_continues_the_earlier_ones(notary: NotaryProcess) -> None:
    async def story(client: NotaryClient) -> None:
        verifier = Verifier(notary.vkey)
        first = await client.record(entry("policy", n=0))
        second = await client.record(entry("policy", n=1))
        older, newer = verifier.verify_checkpoint(first.checkpoint), verifier.verify_checkpoint(second.checkpoint)
        verify_consistency(older.size, older.root, newer.size, newer.root, [leaf_hash(entry("policy", n=1))])
        assert (older.size, newer.size, first.index, second.index) == (1, 2, 0, 1)

    run(notary, story)


def test_an_empty_log_has_a_signed_head_and_no_pages(notary: NotaryProcess) -> None:
    async def story(client: NotaryClient) -> None:
        assert Verifier(notary.vkey).verify_checkpoint(await client.head()).size == 0
        assert await client.pages(0, 10) == []
        assert await code_of(client.prove(0)) == "index_unknown"

    run(notary, story)


def test_a_refusal_says_its_code_and_nothing_of_what_was_sent() -> None:
    assert "digest" not in str(LogRefused("entry_fields")) and LogRefused("entry_fields").code == "entry_fields"
