"""Audits a whole log from its database: every entry, every head, and what the releases were for.

Read-only, and beside a running notary. Nothing stored is believed: the tree is computed again from the entries, and each head that was
ever signed must be the root at its size. Only the newest head's signature is checked; an older one whose root is right commits to
nothing that the newest does not.
"""

from __future__ import annotations

import sqlite3
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import msgspec

from parley.log.entries import BUCKET_SECONDS, COMMITMENT_CHARACTERS, KINDS
from parley.log.key import VKEY_FILE, signed_note
from parley.log.storage import LOG_FILE
from parley.proof import Checkpoint, Frontier, ProofRejected, Verifier, is_forbidden, read_entry
from parley.proof.note import read_vkey

PROGRESS_EVERY = 16_384
PROBLEMS_MAX = 100
KNOWN_MAX = 50_000
_COMMITMENT = b'"c":"'
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_SHAPE = ("k", "u", "p", "ch", "d", "pol", "code")
FORBIDDEN_PURPOSE_CODES = frozenset({"purpose_forbidden"})

Progress = Callable[[int, int], None]
"""(entries checked, entries in all)"""


class PolicySeen(msgspec.Struct, frozen=True):
    """A policy that the log announced: its digest, the index of its first announcement, and how many releases name it."""

    digest: str
    index: int
    releases: int


class AuditReport(msgspec.Struct, frozen=True):
    """What a whole log shows. `sound` is true when no problem was found; counts are of entries."""

    origin: str
    size: int
    root: str
    sound: bool
    problems: list[str]
    heads: int
    kinds: dict[str, int]
    releases: int
    releases_by_purpose: dict[str, int]
    releases_by_platform: dict[str, int]
    releases_by_channel: dict[str, int]
    releases_by_projection: dict[str, int]
    refusals_by_code: dict[str, int]
    advertising_releases: int
    advertising_refused: int
    policies: list[PolicySeen]
    heartbeats: int
    silent_buckets: int
    first_bucket: int
    last_bucket: int


def audit(data_dir: Path, progress: Progress | None = None) -> AuditReport:
    """Check the log in `data_dir` and count what it holds; raises FileNotFoundError when there is none.

    Problems are sentences in the report, never exceptions, so that one bad entry does not hide the rest.
    """
    folder = Path(data_dir) / "notary"
    vkey = (folder / VKEY_FILE).read_text().strip()
    database = open_read_only(folder / LOG_FILE)
    try:
        database.execute("BEGIN")
        return _Audit(database, vkey).run(progress)
    finally:
        database.close()


class _Audit:
    def __init__(self, database: sqlite3.Connection, vkey: str) -> None:
        self._database, self._vkey = database, vkey
        self._tree = Frontier()
        self._problems: list[str] = []
        self._shapes: dict[tuple[str | int | None, ...], list[int]] = {}
        self._known: dict[tuple[bytes, bytes], tuple[list[int], int]] = {}
        self._policies: dict[str, int] = {}
        self._orphans: Counter[str] = Counter()
        self._first_bucket = self._bucket = self._silent = 0

    def run(self, progress: Progress | None) -> AuditReport:
        # 1. The newest head is signed by the log's key.
        head = self._newest_head()
        # 2. Every entry is there, in form, and hashes up to every head that was ever signed.
        heads = self._walk(head.size, progress)
        if (self._tree.size, self._tree.root()) != (head.size, head.root):
            self._report("The entries do not hash to the newest signed head.")
        # 3. Every release names a policy that the log had announced before it.
        for digest, count in self._orphans.items():
            self._report(f"{count} releases name the policy {digest[:64]} before the log announced it.")
        return self._count(head, heads)

    def _newest_head(self) -> Checkpoint:
        row = self._database.execute("SELECT size, CAST(root AS BLOB), CAST(signature AS BLOB) FROM heads ORDER BY size DESC LIMIT 1").fetchone()
        origin, vkey = self._database.execute("SELECT origin, vkey FROM log").fetchone()
        if vkey != self._vkey:
            self._report("The published key is not the one that founded the log.")
        size, root, signature = row
        try:
            _, identifier, _ = read_vkey(self._vkey)
            return Verifier(self._vkey).verify_checkpoint(signed_note(origin, identifier, size, root, signature))
        except ProofRejected as no:
            self._report(f"The newest head is not the log's: {no}")
            return Checkpoint(origin, size, root)

    def _walk(self, size: int, progress: Progress | None) -> int:
        """Go through all entries up to `size`; returns the number of heads that were compared."""
        heads = self._database.execute("SELECT size, CAST(root AS BLOB) FROM heads ORDER BY size")
        rows: Iterator[tuple[int, bytes]] = self._database.execute("SELECT position, CAST(entry AS BLOB) FROM entries ORDER BY position")
        append, look, compared = self._tree.append, self._look, 0
        next_size, next_root = next(heads, (-1, b""))
        if next_size == 0:
            compared += self._compare(next_size, next_root)
            next_size, next_root = next(heads, (-1, b""))
        for position, entry in rows:
            index = self._tree.size
            if position != index:
                self._report(f"Entry {index} is missing.")
                break
            append(sha256(b"\x00" + entry).digest())
            look(index, entry)
            if index + 1 == next_size:
                compared += self._compare(next_size, next_root)
                next_size, next_root = next(heads, (-1, b""))
            if progress is not None and not index % PROGRESS_EVERY:
                progress(index, size)
        if next_size != -1:
            self._report(f"A head of {next_size} entries was signed, and they are not all here.")
        if progress is not None:
            progress(self._tree.size, size)
        return compared

    def _compare(self, size: int, root: bytes) -> int:
        if self._tree.root() != root:
            self._report(f"The head signed at {size} entries is not the root of those entries.")
        return 1

    def _look(self, index: int, entry: bytes) -> None:
        """Count an entry. Most differ from one seen before in the commitment alone, so the rest of each text is judged only once."""
        before, _, after = entry.partition(_COMMITMENT)
        commitment, after = after[:COMMITMENT_CHARACTERS], after[COMMITMENT_CHARACTERS:]
        known = self._known.get((before, after))
        if known is None or len(commitment) != COMMITMENT_CHARACTERS or commitment.translate(None, _BASE64):
            self._judge(index, entry, (before, after), commitment)
            return
        count, bucket = known
        count[0] += 1
        if bucket != self._bucket:
            self._pass_time(index, bucket)

    def _judge(self, index: int, entry: bytes, place: tuple[bytes, bytes], commitment: bytes) -> None:
        try:
            fields = read_entry(entry)
        except ProofRejected as no:
            self._report(f"Entry {index}: {no}")
            return
        kind, bucket, policy = fields.get("k"), fields.get("b"), fields.get("pol")
        if type(bucket) is not int or kind not in KINDS:
            self._report(f"Entry {index} lacks a known kind or a time.")
            return
        if bucket != self._bucket:
            self._pass_time(index, bucket)
        if kind == "policy":
            self._policies.setdefault(str(policy), index)
        orphan = kind == "release" and policy not in self._policies
        if orphan:
            self._orphans[str(policy)] += 1
        count = self._shapes.setdefault(tuple(fields.get(name) for name in _SHAPE), [0])
        if not orphan and fields.get("c") == commitment.decode() and not commitment.translate(None, _BASE64):
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[place] = count, bucket
        count[0] += 1

    def _pass_time(self, index: int, bucket: int) -> None:
        if not self._first_bucket:
            self._first_bucket = bucket
        elif bucket < self._bucket - BUCKET_SECONDS:
            self._report(f"The time goes back at entry {index}.")
        elif bucket > self._bucket:
            self._silent += (bucket - self._bucket) // BUCKET_SECONDS - 1
        self._bucket = max(bucket, self._bucket)

    def _count(self, head: Checkpoint, heads: int) -> AuditReport:
        kinds, refusals, refused, advertising, by = Counter[str](), Counter[str](), 0, 0, [Counter[str]() for _ in range(5)]
        for shape, (count,) in self._shapes.items():
            kind, purpose, code = shape[0], shape[1], shape[6]
            kinds[str(kind)] += count
            forbidden = purpose is not None and is_forbidden(str(purpose))
            if kind == "release":
                advertising += count if forbidden else 0
                for counter, value in zip(by, shape[1:6], strict=True):
                    counter[str(value)] += count
            elif kind == "refusal":
                refusals[str(code)] += count
                refused += count if forbidden or code in FORBIDDEN_PURPOSE_CODES else 0
        if advertising:
            self._report(f"{advertising} releases carry a forbidden purpose.")
        policies = [PolicySeen(digest, index, by[4][digest]) for digest, index in self._policies.items()]
        return AuditReport(
            origin=head.origin,
            size=head.size,
            root=b64encode(head.root).decode(),
            sound=not self._problems,
            problems=self._problems,
            heads=heads,
            kinds=dict(sorted(kinds.items())),
            releases=kinds["release"],
            releases_by_purpose=dict(by[0].most_common()),
            releases_by_platform=dict(by[1].most_common()),
            releases_by_channel=dict(by[2].most_common()),
            releases_by_projection=dict(by[3].most_common()),
            refusals_by_code=dict(refusals.most_common()),
            advertising_releases=advertising,
            advertising_refused=refused,
            policies=policies,
            heartbeats=kinds["heartbeat"],
            silent_buckets=self._silent,
            first_bucket=self._first_bucket,
            last_bucket=self._bucket,
        )

    def _report(self, sentence: str) -> None:
        if len(self._problems) < PROBLEMS_MAX:
            self._problems.append(sentence)


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open beside a running notary; a copy on a read-only disk is opened as the unchanging file that it is."""
    if not path.exists():
        raise FileNotFoundError(path)
    address = path.absolute().as_uri()
    try:
        database = sqlite3.connect(f"{address}?mode=ro", uri=True, isolation_level=None)
        database.execute("SELECT 1 FROM log").fetchone()
    except sqlite3.OperationalError:
        if path.with_name(path.name + "-wal").exists():
            raise
        database = sqlite3.connect(f"{address}?mode=ro&immutable=1", uri=True, isolation_level=None)
    return database
