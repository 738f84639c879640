"""Clients that nobody registered: their id is an https address, and a document there says who they are (client ID metadata documents).

Such a client is unverified: all that is known of it is the host that serves its document, which the bank has listed. Its name is its own
word about itself. So a customer is asked every time, and shown the host. What it may be is little: a public client with a code flow and
exact redirect addresses on its own host, or on the loopback interface of the customer's own computer.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from parley.authorization.server.fetch import Fetched, FetchRefused, GuardedFetcher
from parley.model.ledger import Discreet
from parley.model.strangers import clean
from parley.proof.forbidden import is_forbidden

REDIRECTS_MAX = 10
REDIRECT_CHARS_MAX = 512
KEPT_MAX = 256
KEPT_FOR_MAX = timedelta(hours=1)
REFUSED_FOR = timedelta(seconds=30)
LOOPBACKS = ("127.0.0.1", "[::1]")

ADVERTISING = re.compile(r"\b(?:ads?|advert\w*|marketing|profiling|data ?brok\w*)\b", re.IGNORECASE)


class DocumentRefused(Exception):
    """This client id cannot be used here. `code` is stable and for operators; it holds nothing of the document."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class ClientDocument(Discreet, frozen=True):
    """What a document says and we believe: who serves it, what it calls itself (cleaned), where it may be sent back to.

    A consent is for this very document: a client whose document says anything else than then asks again (see `requests.seen`).
    """

    client_id: str
    name: str
    redirect_uris: tuple[str, ...]

    @property
    def host(self) -> str:
        return urlsplit(self.client_id).netloc.partition(":")[0]


class ClientDocuments:
    """Finds clients by the address that is their id. Keeps a document for as long as its server allows, an hour at most."""

    def __init__(self, fetcher: GuardedFetcher, clock: Callable[[], datetime]) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._kept: OrderedDict[str, tuple[ClientDocument | str, datetime]] = OrderedDict()

    async def find(self, client_id: str) -> ClientDocument:
        """Raises DocumentRefused. A refusal is kept for a moment too, so that nobody can make us ask again and again."""
        if not is_document_address(client_id) or not self._fetcher.lists(client_id):
            raise DocumentRefused("client_unlisted")
        now = self._clock()
        kept = self._kept.get(client_id)
        if kept is None or kept[1] <= now:
            kept = await self._fetch(client_id, now)
            self._keep(client_id, kept)
        if isinstance(kept[0], str):
            raise DocumentRefused(kept[0])
        return kept[0]

    async def _fetch(self, client_id: str, now: datetime) -> tuple[ClientDocument | str, datetime]:
        try:
            fetched: Fetched = await self._fetcher.get(client_id)
            document = read_document(fetched.unverified_body, client_id)
        except (FetchRefused, DocumentRefused) as refused:
            return refused.code, now + REFUSED_FOR
        return document, now + min(timedelta(seconds=fetched.max_age), KEPT_FOR_MAX)

    def _keep(self, client_id: str, found: tuple[ClientDocument | str, datetime]) -> None:
        self._kept[client_id] = found
        self._kept.move_to_end(client_id)
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)


def is_document_address(client_id: str) -> bool:
    """An https address with a path of its own, and nothing beside it. Host and form are checked again before anything is fetched."""
    return re.fullmatch(r"https://[a-z0-9.-]+/[A-Za-z0-9._~/-]+", client_id) is not None


def read_document(body: bytes, client_id: str) -> ClientDocument:
    """The document, if it is this client's own and fits what may be registered at all. Raises DocumentRefused."""
    told = _object(body)
    if told.get("client_id") != client_id:
        raise DocumentRefused("document_of_another_client")
    if told.get("token_endpoint_auth_method", "none") != "none" or {"client_secret", "client_secret_expires_at"} & set(told):
        raise DocumentRefused("document_not_public")
    if "authorization_code" not in _texts(told, "grant_types", ("authorization_code",)) or "code" not in _texts(told, "response_types", ("code",)):
        raise DocumentRefused("document_other_flow")
    sent = _texts(told, "redirect_uris", ())
    redirects = tuple(each for each in sent if is_redirect(each, urlsplit(client_id).netloc))
    if not redirects:
        raise DocumentRefused("document_no_redirect")
    name = clean(told["client_name"]) if isinstance(told.get("client_name"), str) else ""
    if means_advertising(told):
        raise DocumentRefused("document_advertising")
    return ClientDocument(client_id, name, redirects)


def is_redirect(uri: str, host: str) -> bool:
    """On the client's own host over https, or on the loopback interface by its number. `localhost` is a name that others can answer to."""
    if len(uri) > REDIRECT_CHARS_MAX or not re.fullmatch(r"https?://[a-z0-9.:\[\]-]+/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*", uri):
        return False
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme == "https":
        return parts.netloc == host
    return parts.netloc.removesuffix(f":{port}" if port is not None else "") in LOOPBACKS


def is_on_loopback(uri: str) -> bool:
    return uri.startswith("http://")


def means_advertising(told: dict[str, Any]) -> bool:
    """Whether a client says that it is there for what nobody may ever be there for: in its name, its scope, or a purpose that it states."""
    spoken = [str(value) for key, value in told.items() if key in ("client_name", "scope") or "purpose" in key.lower()]
    words = [word for text in spoken for word in re.split(r"[\s,;\"'\[\]{}]+", text)]
    return any(map(is_forbidden, words)) or any(ADVERTISING.search(clean(text)) for text in spoken)


def _object(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body.decode(), object_pairs_hook=_no_repetition)
    except (ValueError, RecursionError):
        raise DocumentRefused("document_not_json") from None
    if not isinstance(told, dict):
        raise DocumentRefused("document_not_json")
    return told


def _texts(told: dict[str, Any], key: str, untold: tuple[str, ...]) -> tuple[str, ...]:
    value = told.get(key, list(untold))
    if not isinstance(value, list) or len(value) > REDIRECTS_MAX or not all(isinstance(each, str) for each in value):
        raise DocumentRefused("document_wrong_shape")
    return tuple(value)


def _no_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a repeated key")
    return found
