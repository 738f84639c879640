"""What the gateway and the notary say to each other: length-prefixed MessagePack frames over a Unix socket.

A frame is a 32-bit big-endian length and that many bytes, at most 64 KiB either way. Requests carry a number that the answer
repeats, so that many may be under way. Acknowledgements of one batch share the checkpoint and travel in one frame.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

FRAME_BYTES_MAX = 64 * 1024
HANDLE_BYTES = 16
SIDE_BYTES_MAX = 8 * 1024


class Request(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """Anything a client may ask; `id` is repeated in the answer."""

    id: int


class Record(Request, tag="record"):
    """Append an entry; with a handle, only if that grant is open at that version when it commits."""

    entry: bytes
    side: bytes
    handle: bytes | None = None
    version: int | None = None


class OpenGrant(Request, tag="open"):
    """Append a grant entry and make the handle open at `version`."""

    entry: bytes
    side: bytes
    handle: bytes
    version: int


class CloseGrant(Request, tag="close"):
    """Append a revoke entry and close the handle."""

    entry: bytes
    side: bytes
    handle: bytes


class Prove(Request, tag="prove"):
    """Ask for an entry and its path to the newest checkpoint."""

    index: int


class Head(Request, tag="head"):
    """Ask for the newest checkpoint."""


class Pages(Request, tag="pages"):
    """Ask for up to `count` entries from `first` on (fewer come when the frame is full)."""

    first: int
    count: int


class Acknowledged(msgspec.Struct, array_like=True, tag="ack", gc=False):
    """Durable: one checkpoint, and for each request its id, its entry's index and its path as joined hashes."""

    checkpoint: bytes
    entries: list[tuple[int, int, bytes]]


class Refused(msgspec.Struct, array_like=True, tag="no", gc=False):
    """Not recorded, and why."""

    id: int
    code: str


class Proof(msgspec.Struct, array_like=True, tag="proof", gc=False):
    """An old entry with its path to the newest checkpoint."""

    id: int
    index: int
    entry: bytes
    side: bytes
    checkpoint: bytes
    path: bytes


class HeadIs(msgspec.Struct, array_like=True, tag="head", gc=False):
    """The newest checkpoint."""

    id: int
    checkpoint: bytes


class Page(msgspec.Struct, array_like=True, tag="page", gc=False):
    """Entries in order, the first being number `first`."""

    id: int
    first: int
    entries: list[bytes]


AnyRequest = Record | OpenGrant | CloseGrant | Prove | Head | Pages
Sequenced = Record | OpenGrant | CloseGrant
AnyAnswer = Acknowledged | Refused | Proof | HeadIs | Page

_encoder = msgspec.msgpack.Encoder()


class BadFrame(Exception):
    """The other side does not speak this protocol: the connection ends."""


def frame(message: msgspec.Struct) -> bytes:
    """A message with its length in front."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4, "big") + body


class Frames:
    """Cuts a stream of bytes into frame bodies; keeps no more than one unfinished frame."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies that `data` completes; raises BadFrame as soon as a length is too large."""
        if self._rest:
            data = self._rest + data
        start, size = 0, len(data)
        while size - start >= 4:
            length = int.from_bytes(data[start : start + 4], "big")
            if length > FRAME_BYTES_MAX:
                raise BadFrame
            if size - start - 4 < length:
                break
            yield data[start + 4 : start + 4 + length]
            start += 4 + length
        self._rest = data[start:]
