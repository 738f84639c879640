"""C7, C9, C20 and C24 for clients that nobody registered: what a document may say about itself, and what it can never become."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from parley.authorization.server.client_documents import (
    KEPT_FOR_MAX,
    REFUSED_FOR,
    ClientDocument,
    ClientDocuments,
    DocumentRefused,
    is_redirect,
    read_document,
)
from parley.authorization.server.errors import OAuthError
from parley.authorization.server.fetch import GuardedFetcher
from parley.authorization.server.mcp import MCP, DocumentedClients, client_of
from parley.authorization.server.requests import Requests
from parley.model.clients import Client
from parley.store import Records
from tests.fakes.consent import approval_of
from tests.fakes.oauth_house import EveryRule, Refusals
from tests.fakes.profiles import ProfilesHouse, query_of
from tests.fakes.tls_host import HOST, PUBLIC, TlsHost, answer
from tests.fixtures_postgres import RecordsBench

ID = f"https://{HOST}/client.json"
CALLBACK = f"https://{HOST}/callback"


def document(**changes: Any) -> bytes:
    told = {"client_id": ID, "client_name": "Assistant", "redirect_uris": [CALLBACK, "http://127.0.0.1/callback"], **changes}
    return json.dumps({key: value for key, value in told.items() if value is not None}).encode()


def test_C9_a_document_says_who_the_client_is_and_the_host_is_what_is_known_of_it() -> None:
    read = read_document(document(client_uri="https://elsewhere.example", logo_uri="https://evil.example/logo.svg"), ID)
    assert (read.name, read.host, read.redirect_uris) == ("Assistant", HOST, (CALLBACK, "http://127.0.0.1/callback"))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (document(client_id=f"https://{HOST}/other.json"), "document_of_another_client"),
        (document(client_id=None), "document_of_another_client"),
        (document(client_id=[ID]), "document_of_another_client"),
        (document(token_endpoint_auth_method="client_secret_basic"), "document_not_public"),
        (document(client_secret="s"), "document_not_public"),
        (document(grant_types=["client_credentials"]), "document_other_flow"),
        (document(response_types=["token"]), "document_other_flow"),
        (document(redirect_uris=None), "document_no_redirect"),
        (document(redirect_uris=[]), "document_no_redirect"),
        (document(redirect_uris=["https://evil.example/callback"]), "document_no_redirect"),
        (document(redirect_uris=["javascript:alert(1)", "http://localhost:80/callback"]), "document_no_redirect"),
        (document(redirect_uris=CALLBACK), "document_wrong_shape"),
        (document(redirect_uris=[CALLBACK] * 11), "document_wrong_shape"),
        (document(redirect_uris=[7]), "document_wrong_shape"),
        (b"[" * 4000, "document_not_json"),
        (b"[]", "document_not_json"),
        (b"\xff", "document_not_json"),
        (document()[:-1] + b', "client_id": "' + ID.encode() + b'"}', "document_not_json"),
    ],
)
def test_C9_a_document_of_another_client_or_shape_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(DocumentRefused) as caught:
        read_document(body, ID)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "changes",
    [
        {"client_name": "Best Ads Network"},
        {"client_name": "Advertising partner"},
        {"client_name": "ad\u200bs for you"},
        {"scope": "balance:read dpv:Advertising"},
        {"scope": "marketing"},
        {"purpose": "dpv:PersonalisedAdvertising"},
        {"purposes": ["answer_customer", "dpv:SellDataToThirdParties"]},
        {"data_purpose_details": {"x": "dpv:DirectMarketing"}},
    ],
)
def test_C24_a_client_whose_document_speaks_of_advertising_cannot_come_in(changes: dict[str, Any]) -> None:
    with pytest.raises(DocumentRefused, match="document_advertising"):
        read_document(document(**changes), ID)


@pytest.mark.parametrize("name", ["Trainline helper", "Target list for groceries", "Addison & Co", "Adsila"])
def test_C24_a_harmless_name_that_sounds_a_little_like_it_is_no_crime(name: str) -> None:
    assert read_document(document(client_name=name), ID).name == name


@pytest.mark.parametrize(
    "name",
    ["\u202eknab ruoY", "A\x1b[31m\r\nB", "x" * 5000, "<script>alert(1)</script>", 7, None, ["a"], "\U000e0041\U000e0042"],
)
def test_C20_a_name_is_cleaned_before_anybody_sees_it(name: Any) -> None:
    shown = read_document(document(client_name=name), ID).name
    assert len(shown) <= 64
    assert not set(shown) & set("\u202e\x1b\r\n\U000e0041")


@pytest.mark.parametrize(
    "uri",
    [
        f"https://{HOST}:8443/callback",
        f"https://{HOST}@evil.example/callback",
        f"https://{HOST}.evil.example/callback",
        f"https://evil.example/{HOST}",
        f"https://{HOST.upper()}/callback",
        f"https://{HOST}/callback#f",
        f"https://{HOST}/call back",
        f"https://{HOST}\\callback",
        f"http://{HOST}/callback",
        "http://localhost/callback",
        "http://127.0.0.2/callback",
        "http://127.0.0.1.evil.example/callback",
        "http://127.0.0.1@evil.example/callback",
        "http://127.1/callback",
        "http://[::ffff:127.0.0.1]/callback",
        "http://127.0.0.1:99999/callback",
        "http://127.0.0.1:080/callback",
        "javascript:alert(1)",
        "data:text/html,x",
        "com.example.app:/callback",
        "",
    ],
)
def test_C7_no_other_address_can_be_a_redirect(uri: str) -> None:
    assert not is_redirect(uri, HOST)


@pytest.mark.parametrize(
    ("registered", "presented", "matches"),
    [
        (CALLBACK, CALLBACK, True),
        (CALLBACK, CALLBACK + "/", False),
        (CALLBACK, CALLBACK + "?a=b", False),
        (CALLBACK, CALLBACK + "%20", False),
        (CALLBACK, CALLBACK.replace("callback", "Callback"), False),
        (CALLBACK, CALLBACK.replace("https", "http"), False),
        (CALLBACK, CALLBACK.replace(HOST, f"{HOST}:8443"), False),
        ("http://127.0.0.1/callback", "http://127.0.0.1:51234/callback", True),
        ("http://127.0.0.1:1/callback", "http://127.0.0.1:2/callback", True),
        ("http://[::1]/callback", "http://[::1]:51234/callback", True),
        ("http://127.0.0.1/callback", "http://127.0.0.1:51234/other", False),
        ("http://127.0.0.1/callback", "http://127.0.0.1:51234/callback?x", False),
        ("http://127.0.0.1/callback", "http://localhost:51234/callback", False),
        ("http://127.0.0.1/callback", "http://[::1]:51234/callback", False),
        ("http://127.0.0.1/callback", "http://127.0.0.1:51234@evil.example/callback", False),
        ("http://127.0.0.1/callback", "http://127.0.0.1:x/callback", False),
        ("http://127.0.0.1/callback", "http://127.0.0.1:0/callback", False),
        ("http://127.0.0.1/callback", "https://127.0.0.1:51234/callback", False),
        ("http://127.0.0.1/callback", "HTTP://127.0.0.1:51234/callback", False),
    ],
)
def test_C7_redirects_match_exactly_but_for_a_loopback_port(registered: str, presented: str, matches: bool) -> None:
    client = client_of(ClientDocument(ID, "Assistant", (registered,)), "assistant-by-document")
    requests = Requests(MCP, "https://bank.example/assistants", "https://bank.example/mcp", EveryRule(), Refusals(), lambda: datetime.now(UTC))
    if matches:
        assert requests.redirect_uri({"redirect_uri": presented}, client) == presented
    else:
        with pytest.raises(OAuthError, match="invalid_request"):
            requests.redirect_uri({"redirect_uri": presented}, client)


def told(tmp_path: Path, story: Callable[[TlsHost, ClientDocuments, list[datetime]], Awaitable[None]]) -> None:
    async def whole() -> None:
        now = [datetime(2027, 3, 1, tzinfo=UTC)]

        async def look_up(host: str) -> list[str]:
            return [PUBLIC]

        async with TlsHost(tmp_path) as host:
            fetcher = GuardedFetcher([HOST], lambda: now[0], tls=host.trust, look_up=look_up, dial=host.dial)
            await story(host, ClientDocuments(fetcher, lambda: now[0]), now)

    asyncio.run(whole())


def test_C9_a_document_is_kept_as_long_as_it_may_be_and_no_longer(tmp_path: Path) -> None:
    async def story(host: TlsHost, documents: ClientDocuments, now: list[datetime]) -> None:
        host.play = answer(document(), cache_control="max-age=86400")
        first = await documents.find(ID)
        host.play = answer(document(redirect_uris=[f"https://{HOST}/changed"]))
        assert await documents.find(ID) == first
        assert len(host.asked) == 1
        now[0] += KEPT_FOR_MAX
        changed = await documents.find(ID)
        assert changed != first
        await documents.find(ID)
        assert len(host.asked) == 3, "a document that may not be kept is asked for each time"

    told(tmp_path, story)


def test_C17_a_refused_document_is_not_asked_for_again_at_once(tmp_path: Path) -> None:
    async def story(host: TlsHost, documents: ClientDocuments, now: list[datetime]) -> None:
        host.play = answer(b"{}", "404 Not Found")
        for _ in range(3):
            with pytest.raises(DocumentRefused):
                await documents.find(ID)
        assert len(host.asked) == 1
        host.play = answer(document())
        now[0] += REFUSED_FOR
        assert (await documents.find(ID)).name == "Assistant"

    told(tmp_path, story)


@pytest.mark.parametrize(
    "client_id", ["client", f"https://{HOST}", f"https://{HOST}/", f"{ID}?a=b", f"{ID}#f", "https://evil.example/client.json", ""]
)
def test_C8_an_id_that_is_no_listed_document_is_not_fetched(tmp_path: Path, client_id: str) -> None:
    async def story(host: TlsHost, documents: ClientDocuments, now: list[datetime]) -> None:
        with pytest.raises(DocumentRefused, match="client_unlisted"):
            await documents.find(client_id)
        assert host.asked == []

    told(tmp_path, story)


def test_C9_a_year_of_caching_is_an_hour() -> None:
    assert timedelta(hours=1) >= KEPT_FOR_MAX


# As clients of the authorization server.


class Registered:
    """No client is registered by the bank."""

    async def find_client(self, client_id: str) -> Client | None:
        return None


def with_documents(tmp_path: Path, bench: RecordsBench, story: Callable[[ProfilesHouse, str, TlsHost], Awaitable[None]]) -> None:
    async def whole(records: Records) -> None:
        async def look_up(host: str) -> list[str]:
            return [PUBLIC]

        async with TlsHost(tmp_path) as host:
            fetcher = GuardedFetcher([HOST], lambda: bench.now, tls=host.trust, look_up=look_up, dial=host.dial)
            documented = DocumentedClients(Registered(), ClientDocuments(fetcher, lambda: bench.now), {HOST: "assistant-by-document"})
            house = ProfilesHouse(bench, records, documented)
            customer = await house.settle()
            host.play = answer(document(), cache_control="max-age=0")
            await story(house, customer, host)
            assert house.faults == []

    bench.run(whole)


@pytest.fixture
def bench(tmp_path: Path) -> RecordsBench:
    return RecordsBench(f"sqlite:///{tmp_path / 'data' / 'records.db'}", tmp_path / "keys")


def test_C9_a_client_by_document_is_unverified_and_its_host_is_shown(tmp_path: Path, bench: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str, host: TlsHost) -> None:
        client = await house.assistants.gate.named(ID)
        assert client is not None
        assert (client.verified, client.host, client.platform, client.asker.verified) == (False, HOST, "assistant-by-document", False)
        tokens = await house.tokens(house.assistants, customer, ID, redirect_uri=CALLBACK)
        assert await house.opens(house.assistants, tokens["access_token"]) is not None

    with_documents(tmp_path, bench, story)


def test_C9_a_document_that_changes_between_display_and_approval_gets_nothing(tmp_path: Path, bench: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str, host: TlsHost) -> None:
        client = await house.assistants.gate.named(ID)
        assert client is not None
        reference_hash, _, request = await house.assistants.requests.read(house.asked(ID, redirect_uri=CALLBACK), client)
        await house.records.add_request(reference_hash, request)
        host.play = answer(document(redirect_uris=[CALLBACK, f"https://{HOST}/other"]), cache_control="max-age=0")
        address = await house.ending.allowed(approval_of(request.errand, request.errand.conversation, customer=customer, decided_at=bench.now))
        assert query_of(address or "")["error"] == "access_denied"

    with_documents(tmp_path, bench, story)


@pytest.mark.parametrize("changes", [{"redirect_uris": [CALLBACK, f"https://{HOST}/other"]}, {"client_name": "Somebody else"}])
def test_C9_a_document_that_changes_after_the_consent_renews_nothing(tmp_path: Path, bench: RecordsBench, changes: dict[str, Any]) -> None:
    async def story(house: ProfilesHouse, customer: str, host: TlsHost) -> None:
        tokens = await house.tokens(house.assistants, customer, ID, redirect_uri=CALLBACK)
        host.play = answer(document(redirect_uris=["http://127.0.0.1/callback", CALLBACK]), cache_control="max-age=0")
        renewed = await house.renew(house.assistants, ID, tokens["refresh_token"])
        assert renewed.status == 200, "another order is no other client"
        host.play = answer(document(**changes), cache_control="max-age=0")
        answered = await house.renew(house.assistants, ID, renewed.json["refresh_token"])
        assert (answered.status, answered.json["error"]) == (400, "invalid_grant")

    with_documents(tmp_path, bench, story)


def test_C9_where_the_document_is_gone_or_its_host_unlisted_the_client_is_nobody(tmp_path: Path, bench: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str, host: TlsHost) -> None:
        tokens = await house.tokens(house.assistants, customer, ID, redirect_uri=CALLBACK)
        host.play = answer(b"{}", "404 Not Found")
        answered = await house.renew(house.assistants, ID, tokens["refresh_token"])
        assert (answered.status, answered.json["error"]) == (401, "invalid_client")
        assert await house.assistants.gate.named("https://unlisted.example/client.json") is None

    with_documents(tmp_path, bench, story)


def test_C3_a_client_by_document_is_no_client_at_any_other_profile(tmp_path: Path, bench: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str, host: TlsHost) -> None:
        for server in (house.alexa, house.google, house.fapi):
            assert await server.gate.named(ID) is None

    with_documents(tmp_path, bench, story)
