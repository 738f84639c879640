"""The tools: what they are called, which scope each needs, and what each asks for, already understood. All of them only read.

Descriptions and titles are ours, word for word: nothing that a merchant or a customer wrote ever stands in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from parley.model.extensions import Understood
from parley.model.refusals import BadInput
from parley.model.stages import Slots

BALANCE_SCOPE = "balance:read"
TRANSACTIONS_SCOPE = "transactions:read"
SCOPES: tuple[str, ...] = (BALANCE_SCOPE, TRANSACTIONS_SCOPE)

ROWS_DEFAULT = 5
ROWS_MAX = 25
ACCOUNT_KINDS = ("checking", "savings", "credit card")


@dataclass(frozen=True, slots=True)
class Tool:
    """`offering` is what the house answers it with; `arguments` the JSON Schema of each argument; all are optional and no other is taken."""

    name: str
    title: str
    description: str
    scope: str
    offering: str
    arguments: Mapping[str, Mapping[str, Any]]

    def described(self) -> dict[str, Any]:
        """As tools/list shows it."""
        schema = {"type": "object", "properties": {name: dict(each) for name, each in self.arguments.items()}, "additionalProperties": False}
        hints = {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False}
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": schema,
            "outputSchema": OUTPUT_SCHEMA,
            "annotations": hints,
        }


_TEXT = {"type": "string"}
OUTPUT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "outcome": {"type": "string", "enum": ["answered", "refused", "not_understood", "fault"]},
        "code": _TEXT,
        "notice": _TEXT,
        "untrusted": {
            "type": "object",
            "properties": {
                "text": _TEXT,
                "heading": _TEXT,
                "lines": {
                    "type": "array",
                    "items": {"type": "object", "properties": {"label": _TEXT, "value": _TEXT}, "required": ["label", "value"]},
                },
            },
            "required": ["text", "heading", "lines"],
        },
        "message": _TEXT,
        "purpose": _TEXT,
        "log_index": {"type": "integer"},
    },
    "required": ["outcome", "code"],
}
"""An answer is data: names of merchants and accounts in it were written by others, so the whole of it stands under `untrusted`."""

TOOLS: Mapping[str, Tool] = MappingProxyType(
    {
        "get_balance": Tool(
            "get_balance",
            "Account balance",
            "The balance of the accounts that the customer chose for this assistant. Reads only.",
            BALANCE_SCOPE,
            "balance",
            {"account": {"type": "string", "enum": list(ACCOUNT_KINDS), "description": "Only accounts of this kind."}},
        ),
        "get_recent_transactions": Tool(
            "get_recent_transactions",
            "Recent transactions",
            "The newest transactions of the accounts that the customer chose for this assistant. Reads only.",
            TRANSACTIONS_SCOPE,
            "transactions",
            {
                "count": {"type": "integer", "minimum": 1, "maximum": ROWS_MAX, "description": f"How many, {ROWS_DEFAULT} unless said."},
                "account": {"type": "string", "enum": list(ACCOUNT_KINDS), "description": "Only accounts of this kind."},
            },
        ),
    }
)


def understood_of(tool: Tool, arguments: Mapping[str, Any]) -> Understood:
    """What a call asks for. Raises BadInput for an argument that the tool does not take, or takes otherwise."""
    if not set(arguments) <= set(tool.arguments):
        raise BadInput("body_wrong_shape", "an argument that the tool does not take")
    kind = arguments.get("account")
    if kind is not None and (not isinstance(kind, str) or kind not in ACCOUNT_KINDS):
        raise BadInput("body_wrong_shape", "account")
    count = arguments.get("count", ROWS_DEFAULT if "count" in tool.arguments else None)
    if count is not None and (type(count) is not int or not 1 <= count <= ROWS_MAX):  # `type`, for True is an int
        raise BadInput("body_wrong_shape", "count")
    return Understood(tool.offering, Slots(account=kind, count=count))
