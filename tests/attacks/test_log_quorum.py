"""A quorum file says one thing only, and witnesses that lie, dawdle or talk too much count as witnesses that said nothing."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.log.consistency import consistency_path
from parley.log.key import checkpoint_text
from parley.log.quorum import Group, Quorum, QuorumRejected, Witness, load_quorum
from parley.log.tree import Tree
from parley.log.witnesses import Refused, Witnesses, request_body
from parley.proof import Checkpoint, Frontier, leaf_hash, verify_consistency

KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in range(1, 4)]


def vkey_of(key: Ed25519PrivateKey, name: str, kind: int = 4) -> str:
    public = bytes([kind]) + key.public_key().public_bytes_raw()
    identifier = sha256(name.encode() + b"\n" + public).hexdigest()[:8]
    return f"{name}+{identifier}+{b64encode(public).decode()}"


A, B, C = (vkey_of(key, f"w{number}.example") for number, key in enumerate(KEYS))


def loaded(folder: Path, text: str) -> Quorum:
    path = folder / "quorum"
    path.write_text(text)
    return load_quorum(path)


def test_two_of_three_and_the_platforms_own_are_a_quorum(tmp_path: Path) -> None:
    text = f"""
        # c2sp.org/tlog-policy
        log some.example+12345678+whatever
        witness bank {A}
        witness platform {B} https://witness.platform.example/parley/
        witness auditor {C} http://127.0.0.1:7380
        group outside any platform auditor
        group enough all bank outside
        quorum enough
    """
    quorum = loaded(tmp_path, text)
    assert [witness.url for witness in quorum.witnesses] == [None, "https://witness.platform.example/parley", "http://127.0.0.1:7380"]
    assert quorum.satisfied({"bank", "auditor"}) and quorum.satisfied({"bank", "platform", "auditor"})
    assert not quorum.satisfied({"bank"}) and not quorum.satisfied({"platform", "auditor"}) and not quorum.satisfied(set())


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"witness a {A}\n",
        f"witness a {A}\nquorum a\nquorum a\n",
        f"witness a {A}\nquorum b\n",
        f"witness a {A}\nwitness a {B}\nquorum a\n",
        f"witness none {A}\nquorum none\n",
        f"witness a {vkey_of(KEYS[0], 'w', kind=1)}\nquorum a\n",
        f"witness a {A[:-4]}AAA=\nquorum a\n",
        f"witness a {A} http://witness.example\nquorum a\n",
        f"witness a {A} https://w.example/?x=1\nquorum a\n",
        f"witness a {A} file:///etc/passwd\nquorum a\n",
        f"witness a {A}\ngroup g 0 a\nquorum g\n",
        f"witness a {A}\ngroup g 2 a\nquorum g\n",
        f"witness a {A}\ngroup g -1 a\nquorum g\n",
        f"witness a {A}\ngroup g ² a\nquorum g\n",
        f"witness a {A}\ngroup g 2 a a\nquorum g\n",
        f"witness a {A}\ngroup g any g\nquorum g\n",
        f"group g any a\nwitness a {A}\nquorum g\n",
        f"witness a {A}\nquorums a\n",
        "witness\nquorum none\n",
    ],
)
def test_a_file_that_says_too_little_too_much_or_nonsense_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(QuorumRejected, match="quorum"):
        loaded(tmp_path, text)


def test_a_file_that_is_missing_too_large_or_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"#" * 70_000)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("missing", "large", "binary"):
        with pytest.raises(QuorumRejected):
            load_quorum(tmp_path / name)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 700), st.data())
def test_every_consistency_path_out_of_tiles_verifies(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(0, size))
    leaves = [leaf_hash(b"%d" % number) for number in range(size)]
    before, after = Frontier(), Frontier()
    for number, leaf in enumerate(leaves):
        if number < old:
            before.append(leaf)
        after.append(leaf)
    path = consistency_path(old, size, tiles_of(leaves))
    verify_consistency(old, before.root(), size, after.root(), path)


def tiles_of(leaves: list[bytes]) -> Callable[[int, int, int], bytes]:
    """The tiles that a notary would have finished, and the parts of those that it would not."""
    tree = Tree(lambda level, number: b"")
    roots = {(tile.level, tile.number): tile.root for tile in tree.append(leaves)}

    def tile(level: int, number: int, width: int) -> bytes:
        first = number * 256
        found = leaves[first : first + width] if level == 0 else [roots[level - 1, first + place] for place in range(width)]
        assert len(found) == width
        return b"".join(found)

    return tile


HEAD = Checkpoint("bank.example/log", 5, b"r" * 32)
NOTE = checkpoint_text(HEAD.origin, HEAD.size, HEAD.root) + b"\n\xe2\x80\x94 bank.example/log " + b64encode(b"k" * 68) + b"\n"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def asked(handler: Handler) -> object:
    async def story() -> object:
        app = web.Application()
        app.router.add_post("/add-checkpoint", handler)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        quorum = Quorum((Witness("w", A, f"http://127.0.0.1:{port}"),), {}, "w")
        try:
            async with aiohttp.ClientSession() as session:
                answers = await Witnesses(quorum, lambda old, new: [], session).cosign(NOTE, HEAD)
        finally:
            await runner.cleanup()
        return answers["w"]

    return asyncio.run(story())


def answering(status: int, body: bytes) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, body=body)

    return answer


def signed_line(key: Ed25519PrivateKey, name: str, text: bytes) -> bytes:
    public = b"\x04" + key.public_key().public_bytes_raw()
    identifier = sha256(name.encode() + b"\n" + public).digest()[:4]
    signature = (7).to_bytes(8, "big") + key.sign(b"cosignature/v1\ntime 7\n" + text)
    return "— ".encode() + name.encode() + b" " + b64encode(identifier + signature) + b"\n"


TEXT = checkpoint_text(HEAD.origin, HEAD.size, HEAD.root)


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        (answering(200, b""), "not_signed"),
        (answering(200, b"x" * 100_000), "not_signed"),
        (answering(200, signed_line(KEYS[1], "w0.example", TEXT)), "not_signed"),
        (answering(200, signed_line(KEYS[0], "w0.example", TEXT.replace(b"5", b"6"))), "not_signed"),
        (answering(301, b""), "unavailable"),
        (answering(403, b""), "key"),
        (answering(404, b""), "unknown_log"),
        (answering(409, b"not a number\n"), "nonsense"),
        (answering(409, b"9" * 40), "nonsense"),
        (answering(409, b"6\n"), "ahead"),
        (answering(409, b"3\n"), "moving"),
        (answering(422, b""), "fork"),
        (answering(500, b""), "unavailable"),
    ],
)
def test_a_witness_that_does_not_sign_this_head_counts_for_nothing(handler: Handler, why: str) -> None:
    assert asked(handler) == Refused(why)


def test_only_the_line_that_is_its_own_goes_on() -> None:
    noise = signed_line(KEYS[1], "w1.example", TEXT)
    own = signed_line(KEYS[0], "w0.example", TEXT)
    answer = asked(answering(200, noise + own + noise))
    assert getattr(answer, "line", None) == own and getattr(answer, "moment", None) == 7


def test_a_witness_that_hangs_up_is_unreachable() -> None:
    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    assert asked(hang_up) == Refused("unreachable")


def test_the_request_is_spelled_as_the_specification_spells_it() -> None:
    assert request_body(3, [b"h" * 32], b"note\n") == b"old 3\n" + b64encode(b"h" * 32) + b"\n\nnote\n"


def test_a_group_counts_groups() -> None:
    quorum = Quorum((), {"inner": Group(1, ("a", "b")), "outer": Group(2, ("inner", "c"))}, "outer")
    assert quorum.satisfied({"b", "c"}) and not quorum.satisfied({"a", "b"})
