"""Linking a Messenger chat: a consent in the browser, a code carried by the platform, and a number compared between page and chat.

    consented -> (browser goes back to the platform) -> linked(chat, code), signed -> typed(chat, number), signed

The platform's own flow can be turned against a victim: its linking token belongs to whoever tapped the button, so an attacker who sends
the address of *his* button to a victim would, once she has signed in at her bank, have her account in *his* chat. So the code alone
binds nothing. It only makes the chat that came back with it be asked for a number, which was shown on the customer's own page alone. A
tricked victim types it into her own chat, where nothing waits for it; the attacker's chat never learns it, and one wrong guess ends all.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Literal, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from parley.authorization.linking import Approval
from parley.authorization.sessions import hash_token
from parley.model.ledger import Discreet
from parley.model.linking import Asker, Errand, Origin
from parley.model.messenger import CodeOutcome, Handover, Presentation, WayBack
from parley.model.refusals import BadInput, Fault, ForgedMessage

CHANNEL = "messenger"
NUMBER_PAGE = "/link/messenger/number"
CODE_LIFE = timedelta(minutes=5)
NUMBER_LIFE = timedelta(minutes=10)
CODE_REMEMBERED = timedelta(days=8)
"""Longer than the platform repeats a webhook, so that a code which turns up in a second chat is known for what it is."""

CODE_BYTES = 32
NUMBER_DIGITS = 6
BODY_BYTES_MAX = 256 * 1024
EVENTS_MAX = 500
CHAT_CHARS_MAX = 64
TEXT_CHARS_MAX = 64
TOKEN_CHARS_MAX = 1024
RETURN_HOSTS = frozenset({"facebook.com", "www.facebook.com"})
RETURN_PATHS = frozenset({"/messenger_platform/account_linking", "/messenger_platform/account_linking/"})


class HandoverRecords(Protocol):
    async def add_handover(self, code_hash: bytes, handover: Handover, expires_at: datetime) -> None: ...
    async def present_code(
        self, code_hash: bytes, chat: str, now: datetime, *, waits_until: datetime, remembered_until: datetime
    ) -> Presentation: ...
    async def awaited(self, chat: str, now: datetime) -> bool: ...
    async def take_handover(self, chat: str, now: datetime) -> Handover | None: ...
    async def put_back_handover(self, chat: str, handover: Handover, expires_at: datetime) -> None: ...
    async def put_way_back(self, conversation: str, way: WayBack, expires_at: datetime) -> None: ...
    async def way_back(self, conversation: str, now: datetime) -> WayBack | None: ...


class MessengerDesk:
    """The ending of an errand that began in a messenger, and parley.model.messenger.LinkedByPlatform for its channel.

    `approve` makes the grants; `end` ends all that a chat may ask; `alarm` hears codes for the operators. `platform` and `channel` as the
    policy and the log name them.
    """

    def __init__(
        self,
        *,
        platform: str,
        title: str,
        records: HandoverRecords,
        approve: Callable[[Approval], Awaitable[object]],
        end: Callable[[str], Awaitable[None]],
        clock: Callable[[], datetime],
        alarm: Callable[[str], None] = lambda code: None,
        chance: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._platform = platform
        self._asker = Asker(title=title, host="facebook.com")
        self._records = records
        self._approve = approve
        self._end = end
        self._clock = clock
        self._alarm = alarm
        self._chance = chance

    # The browser's side.

    def errand(self, redirect_uri: str, account_linking_token: str) -> Errand:
        """What the platform's button sent a browser for. Raises BadInput for any way back but the platform's own."""
        address = checked_return(redirect_uri, account_linking_token)
        return Errand(Origin.MESSENGER, self._platform, CHANNEL, self._asker, return_to=address)

    async def allowed(self, approval: Approval) -> str:
        """She allowed it. Nothing is granted yet: her consent waits, for minutes, for the chat that can name the number on her page."""
        code = urlsafe_b64encode(self._chance(CODE_BYTES)).rstrip(b"=").decode()
        number = f"{int.from_bytes(self._chance(8), 'big') % 10**NUMBER_DIGITS:0{NUMBER_DIGITS}d}"
        until = self._clock() + CODE_LIFE
        address = approval.errand.return_to
        url = f"{address}{'&' if '?' in address else '?'}{urlencode({'authorization_code': code})}"
        await self._records.put_way_back(approval.conversation, WayBack(url, number), until)
        await self._records.add_handover(hash_token(code), Handover(msgspec.msgpack.encode(approval), number), until)
        return NUMBER_PAGE

    async def denied(self, errand: Errand) -> str:
        """Back to the platform without a code, which it reads as a refusal."""
        return errand.return_to

    async def way_back(self, conversation: str) -> WayBack | None:
        """For the browser of this very conversation: the number to show, and where to go on. None when nothing waits."""
        return await self._records.way_back(conversation, self._clock())

    # The platform's side: only ever called with what a verified webhook said.

    async def linked(self, chat: str, code: str) -> bool:
        """True: ask this chat for the number. A code that a second chat presents ends what the first one had, too."""
        if not _is_chat(chat) or not re.fullmatch(r"[A-Za-z0-9_-]{43}", code):
            return False
        now = self._clock()
        presented = await self._records.present_code(
            hash_token(code), chat, now, waits_until=now + NUMBER_LIFE, remembered_until=now + CODE_REMEMBERED
        )
        if presented.outcome is CodeOutcome.ANOTHER_CHAT:
            self._alarm("messenger_code_from_two_chats")
            await self._end(presented.earlier_chat or chat)
        return presented.outcome is CodeOutcome.WAITS

    async def typed(self, chat: str, text: str) -> bool | None:
        """True: linked now. False: a wrong number, and the attempt is over. None: an ordinary message, or nothing is awaited."""
        number = number_in(text)
        now = self._clock()
        if number is None or not _is_chat(chat) or not await self._records.awaited(chat, now):
            return None
        handover = await self._records.take_handover(chat, now)
        if handover is None:
            return None
        if not hmac.compare_digest(number.encode(), handover.number.encode()):
            self._alarm("messenger_number_wrong")
            return False
        try:
            await self._approve(bound_to(handover, chat))
        except Fault:
            await self._records.put_back_handover(chat, handover, now + NUMBER_LIFE)
            raise
        return True

    async def unlinked(self, chat: str) -> None:
        if _is_chat(chat):
            await self._records.take_handover(chat, self._clock())
            await self._end(chat)


def bound_to(handover: Handover, chat: str) -> Approval:
    """The consent as it was given, for this chat."""
    return msgspec.structs.replace(msgspec.msgpack.decode(handover.consent, type=Approval), conversation=chat)


def number_in(text: str) -> str | None:
    """The six digits of a message that says nothing else; people group them with blanks or a hyphen."""
    if len(text) > TEXT_CHARS_MAX:
        return None
    digits = re.sub(r"[\s-]", "", text)
    return digits if re.fullmatch(rf"[0-9]{{{NUMBER_DIGITS}}}", digits) else None


def checked_return(redirect_uri: str, account_linking_token: str) -> str:
    """The platform's own return address and nothing else: our page must not send a code, or anybody, anywhere else.

    The token stands in the address too, and must be the same one. Raises BadInput.
    """
    if not re.fullmatch(rf"[!-~]{{1,{TOKEN_CHARS_MAX}}}", account_linking_token):
        raise BadInput("body_wrong_shape", "account_linking_token")
    if len(redirect_uri) > 2 * TOKEN_CHARS_MAX or not re.fullmatch(r"https://[a-z.]+/[A-Za-z0-9_./?=&%~+*-]*", redirect_uri):
        raise BadInput("body_wrong_shape", "redirect_uri")
    parts = urlsplit(redirect_uri)
    query = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=4)
    if parts.netloc not in RETURN_HOSTS or parts.path not in RETURN_PATHS or query not in ([], [("account_linking_token", account_linking_token)]):
        raise BadInput("body_wrong_shape", "redirect_uri")
    return redirect_uri


# The webhook's bytes.


class LinkingEvent(Discreet, frozen=True):
    """What a verified webhook says about one chat: it came back with a code, it unlinked, or it typed something."""

    kind: Literal["linked", "unlinked", "typed"]
    chat: str
    value: str = ""


def verified_body(unverified_body: bytes, headers: Mapping[str, str], app_secrets: Sequence[bytes]) -> bytes:
    """The very bytes, once their HMAC-SHA256 under one of the app's secrets is right. Header names lower case. Raises ForgedMessage.

    Checked before anything is parsed: a parser is a large thing to hand to a stranger. Several secrets while one is being replaced.
    """
    if len(unverified_body) > BODY_BYTES_MAX:
        raise BadInput("body_too_large")
    sent = re.fullmatch(r"sha256=([0-9a-f]{64})", headers.get("x-hub-signature-256", ""))
    if sent is None or not app_secrets:
        raise ForgedMessage("no signature")
    matches = [hmac.compare_digest(hmac.new(secret, unverified_body, sha256).hexdigest(), sent[1]) for secret in app_secrets]
    if not any(matches):
        raise ForgedMessage("signature")
    return unverified_body


def linking_events(verified: bytes, page: str) -> tuple[LinkingEvent, ...]:
    """What a verified body says of linking. Other events and shapes are skipped; another page's body is a forgery."""
    try:
        body = _JSON.decode(verified.decode())
    except RecursionError:
        raise BadInput("body_too_deep") from None
    except ValueError:
        raise BadInput("body_not_json") from None
    if not isinstance(body, dict) or body.get("object") != "page" or not isinstance(body.get("entry"), list):
        raise BadInput("body_wrong_shape")
    events: list[LinkingEvent] = []
    for entry in body["entry"][:EVENTS_MAX]:
        if not isinstance(entry, dict) or entry.get("id") != page:
            raise ForgedMessage("another page")
        messaging = entry.get("messaging")
        for event in messaging[:EVENTS_MAX] if isinstance(messaging, list) else ():
            events += _events_in(event, page)
    return tuple(events)


def _events_in(event: Any, page: str) -> list[LinkingEvent]:
    chat = _text(event, "sender", "id")
    if chat is None or _text(event, "recipient", "id") != page:
        return []
    status, code = _text(event, "account_linking", "status"), _text(event, "account_linking", "authorization_code")
    if status == "linked" and code is not None:
        return [LinkingEvent("linked", chat, code)]
    if status == "unlinked":
        return [LinkingEvent("unlinked", chat)]
    typed = _text(event, "message", "text")
    is_echo = isinstance(event.get("message"), dict) and event["message"].get("is_echo") is True
    return [] if typed is None or is_echo else [LinkingEvent("typed", chat, typed)]


def _text(event: Any, outer: str, inner: str) -> str | None:
    holder = event.get(outer) if isinstance(event, dict) else None
    value = holder.get(inner) if isinstance(holder, dict) else None
    return value if isinstance(value, str) else None


def _no_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers may take different ones of two equal keys, so there may be only one."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a repeated key")
    return found


_JSON = json.JSONDecoder(object_pairs_hook=_no_repetition)


def _is_chat(chat: str) -> bool:
    return re.fullmatch(rf"[A-Za-z0-9_.:-]{{1,{CHAT_CHARS_MAX}}}", chat) is not None
