"""JSON-RPC as MCP speaks it, in the two shapes that clients use: 2026-07-28 (stateless) and 2025-11-25 and older (after `initialize`).

Reading is strict and bounded: one request per body, no repeated keys, no batches.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from parley.model.ledger import Discreet

MODERN = "2026-07-28"
HANDSHAKE = ("2025-11-25", "2025-06-18", "2025-03-26")
SUPPORTED = (MODERN, *HANDSHAKE)
BODY_BYTES_MAX = 64 * 1024
BRACKETS_MAX = 512
ID_CHARS_MAX = 128
METHOD_CHARS_MAX = 128

PARSE_ERROR, INVALID_REQUEST, METHOD_UNKNOWN, INVALID_PARAMS = -32700, -32600, -32601, -32602
HEADER_MISMATCH, VERSION_UNKNOWN = -32020, -32022

META_VERSION = "io.modelcontextprotocol/protocolVersion"
META_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
META_SERVER = "io.modelcontextprotocol/serverInfo"


class RpcError(Exception):
    """A request that is answered with a JSON-RPC error: its `code`, the HTTP `status`, and words of ours, never of the request."""

    def __init__(self, code: int, message: str, *, status: int = 400, data: Mapping[str, Any] | None = None, id: int | str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.data = data
        self.id = id


class Call(Discreet, frozen=True):
    """One JSON-RPC request, or a notification where `id` is None."""

    id: int | str | None
    method: str
    params: Mapping[str, Any]


def read_call(body: bytes) -> Call:
    """Raises RpcError."""
    if body.count(b"[") + body.count(b"{") > BRACKETS_MAX:
        raise RpcError(INVALID_REQUEST, "too deeply nested")
    try:
        sent = _JSON.decode(body.decode())
    except (ValueError, RecursionError):
        raise RpcError(PARSE_ERROR, "not one JSON value") from None
    if not isinstance(sent, dict) or sent.get("jsonrpc") != "2.0" or not set(sent) <= {"jsonrpc", "id", "method", "params"}:
        raise RpcError(INVALID_REQUEST, "not a JSON-RPC 2.0 request")
    id, method, params = sent.get("id"), sent.get("method"), sent.get("params", {})
    if not _is_id(id) or ("id" in sent and id is None):
        raise RpcError(INVALID_REQUEST, "an id of the wrong kind")
    if not isinstance(method, str) or not 0 < len(method) <= METHOD_CHARS_MAX or not isinstance(params, dict):
        raise RpcError(INVALID_REQUEST, "not a JSON-RPC 2.0 request", id=id)
    return Call(id, method, params)


def check_version(call: Call, headers: Mapping[str, str]) -> bool:
    """Whether the call is of the stateless revision. Raises RpcError where headers and body disagree, or the version is unknown."""
    version = headers.get("mcp-protocol-version")
    meta = call.params.get("_meta")
    stated = meta.get(META_VERSION) if isinstance(meta, dict) else None
    if version is None and stated is None:
        return False
    if version is not None and version not in SUPPORTED:
        data = {"supported": list(SUPPORTED), "requested": version[:32]}
        raise RpcError(VERSION_UNKNOWN, "protocol version unknown", data=data, id=call.id)
    if version != MODERN and stated is None:
        return False
    if stated != version:
        raise RpcError(HEADER_MISMATCH, "the header and the body name different versions", id=call.id)
    if not isinstance(meta, dict) or not isinstance(meta.get(META_CAPABILITIES), dict):
        raise RpcError(INVALID_PARAMS, "params._meta lacks what this revision needs", id=call.id)
    wanted = {"mcp-method": call.method}
    if call.method == "tools/call":
        wanted["mcp-name"] = str(call.params.get("name"))
    if any(headers.get(name) != value for name, value in wanted.items()):
        raise RpcError(HEADER_MISMATCH, "a header and the body disagree", id=call.id)
    return True


def result_body(call: Call, result: Mapping[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": call.id, "result": result}, ensure_ascii=False, separators=(",", ":")).encode()


def error_body(error: RpcError) -> bytes:
    told: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.data is not None:
        told["data"] = error.data
    return json.dumps({"jsonrpc": "2.0", "id": error.id, "error": told}, separators=(",", ":")).encode()


def _is_id(id: Any) -> bool:
    if isinstance(id, str):
        return len(id) <= ID_CHARS_MAX
    return id is None or (type(id) is int and abs(id) < 2**63)


def _no_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a repeated key")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError("not JSON")


_JSON = json.JSONDecoder(object_pairs_hook=_no_repetition, parse_constant=_no_constant)
