"""A customer links her Messenger chat: from the platform's button over her bank and the consent page to a number that she types in her chat."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from starlette.applications import Starlette

from parley.authorization.linking import Approval
from parley.authorization.pages import LinkingSettings
from parley.authorization.server.messenger import MessengerDesk
from parley.authorization.server.messenger_pages import messenger_routes
from parley.authorization.sessions import Throttle
from parley.channels.web import ERROR_HANDLERS, Protected
from parley.model.linking import Origin
from parley.store import FileKeyRing, open_records
from tests.browser import PICTURES, open_chromium
from tests.fakes.visitor import Seen, Visitor
from tests.fakes.web_house import Clock, House, build_house, listen, served

TOKEN = "opaque-linking-token"
BACK = f"https://www.facebook.com/messenger_platform/account_linking/?account_linking_token={TOKEN}"
BUTTON = "/link/messenger?" + urlencode({"redirect_uri": BACK, "account_linking_token": TOKEN})


class Late:
    """Records that are opened anew for each call: the pages run on another loop than the test."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._url, self._keys, self._clock = f"sqlite:///{folder / 'data' / 'records.db'}", FileKeyRing(folder / "keys"), clock

    def __getattr__(self, name: str) -> object:
        async def call(*arguments: object, **named: object) -> object:
            records = await open_records(self._url, self._keys, self._clock)
            try:
                return await getattr(records, name)(*arguments, **named)
            finally:
                await records.aclose()

        return call


@dataclass
class Linking:
    house: House
    desk: MessengerDesk
    approved: list[Approval]
    ended: list[str]

    def typed(self, chat: str, text: str) -> bool | None:
        return asyncio.run(self.desk.typed(chat, text))

    def linked(self, chat: str, code: str) -> bool:
        return asyncio.run(self.desk.linked(chat, code))


@contextmanager
def running(folder: Path) -> Iterator[Linking]:
    """The linking pages with the messenger's beside them."""
    listener = listen()
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    approved: list[Approval] = []
    ended: list[str] = []
    clock = Clock()

    async def approve(approval: Approval) -> None:
        approved.append(approval)

    async def end(chat: str) -> None:
        ended.append(chat)

    desk = MessengerDesk(platform="messenger", title="Messenger", records=Late(folder, clock), approve=approve, end=end, clock=clock)  # type: ignore[arg-type]
    house = build_house(origin, endings={Origin.MESSENGER: desk})
    pages = messenger_routes(
        desk=desk,
        linking=house.linking,
        sessions=house.sessions,
        settings=LinkingSettings(origin, "Brook Bank", "privacy@brook.example"),
        clock=house.clock,
        trips=Throttle(per_second=1000, burst=1000),
        on_fault=house.faults.append,
    )
    app = Protected(Starlette(routes=pages, exception_handlers=dict(ERROR_HANDLERS)), public_origin=origin)

    async def both(scope, receive, send):  # type: ignore[no-untyped-def]
        await (app if str(scope.get("path", "")).startswith("/link/messenger") else house.app)(scope, receive, send)

    with served(both, listener):
        yield Linking(house, desk, approved, ended)


@pytest.fixture
def linking(tmp_path: Path) -> Iterator[Linking]:
    with running(tmp_path) as found:
        yield found
        assert found.house.faults == []


def to_consent(linking: Linking, visitor: Visitor) -> Seen:
    button = visitor.get(BUTTON)
    fields = {name: button.hidden(name) for name in ("csrf", "redirect_uri", "account_linking_token")}
    away = visitor.post_form("/link/messenger", fields)
    assert away.status == 303
    state = parse_qs(urlsplit(away.location).query)["state"][0]
    assert visitor.come_back(state, linking.house.bank.issue(state)).location == "/consent"
    return visitor.get("/consent")


def number_on(page: Seen) -> str:
    return page.text.split('<strong aria-label="')[1].split('"')[0].replace(" ", "")


def code_on(page: Seen) -> str:
    link = page.text.split('class="button primary" href="')[1].split('"')[0].replace("&amp;", "&")
    assert link.startswith(BACK)
    return parse_qs(urlsplit(link).query)["authorization_code"][0]


def test_she_links_her_chat_and_nothing_is_shared_until_she_typed_the_number(linking: Linking) -> None:
    visitor = Visitor(linking.house.origin)
    page = to_consent(linking, visitor)
    decided = visitor.post_form("/consent", visitor.consent_fields(page))
    assert (decided.status, decided.location) == (303, "/link/messenger/number")
    shown = visitor.get("/link/messenger/number")
    assert linking.approved == []
    assert linking.linked("7001", code_on(shown)) is True
    assert linking.approved == []
    assert linking.typed("7001", number_on(shown)) is True
    (approval,) = linking.approved
    assert (approval.conversation, approval.channel, approval.platform, approval.customer) == ("7001", "messenger", "messenger", "customer-of-ada")
    assert approval.text_hash == page.hidden("text_hash")


def test_saying_no_sends_her_back_without_a_code(linking: Linking) -> None:
    visitor = Visitor(linking.house.origin)
    page = to_consent(linking, visitor)
    decided = visitor.post_form("/consent", visitor.consent_fields(page, decision="deny"))
    assert (decided.status, decided.location) == (303, BACK)
    assert visitor.get("/link/messenger/number").status == 410


def test_C4_another_browser_never_sees_the_number(linking: Linking) -> None:
    visitor, other = Visitor(linking.house.origin), Visitor(linking.house.origin)
    visitor.post_form("/consent", visitor.consent_fields(to_consent(linking, visitor)))
    other.open_chat()
    assert other.get("/link/messenger/number").status == 410
    assert Visitor(linking.house.origin).get("/link/messenger/number").status == 410
    assert visitor.get("/link/messenger/number").status == 200


@pytest.mark.parametrize(
    "query",
    [
        "",
        urlencode({"redirect_uri": BACK}),
        urlencode({"account_linking_token": TOKEN}),
        urlencode({"redirect_uri": "https://evil.example/", "account_linking_token": TOKEN}),
        urlencode({"redirect_uri": BACK, "account_linking_token": "another"}),
        urlencode({"redirect_uri": BACK, "account_linking_token": TOKEN}) + "&redirect_uri=https://evil.example/",
        "redirect_uri=%ff%fe&account_linking_token=%00",
    ],
)
def test_C7_the_button_leads_nowhere_for_an_address_of_somebody_else(linking: Linking, query: str) -> None:
    seen = Visitor(linking.house.origin).get("/link/messenger?" + query)
    assert (seen.status, seen.location) == (422, "")


def test_C2_a_trip_starts_from_our_own_page_only(linking: Linking) -> None:
    visitor = Visitor(linking.house.origin)
    button = visitor.get(BUTTON)
    fields = {name: button.hidden(name) for name in ("csrf", "redirect_uri", "account_linking_token")}
    assert visitor.post_form("/link/messenger", fields, origin="https://evil.example").status == 403
    assert visitor.post_form("/link/messenger", {**fields, "csrf": "x"}).status == 409
    assert visitor.post_form("/link/messenger", {**fields, "redirect_uri": "https://evil.example/"}).status == 422
    assert Visitor(linking.house.origin).post_form("/link/messenger", fields).status == 401


def test_C20_the_pages_run_no_script_and_fit_no_frame(linking: Linking) -> None:
    visitor = Visitor(linking.house.origin)
    visitor.post_form("/consent", visitor.consent_fields(to_consent(linking, visitor)))
    for path in (BUTTON, "/link/messenger/number"):
        seen = visitor.get(path)
        assert "<script" not in seen.text
        assert "frame-ancestors 'none'" in (seen.header("content-security-policy") or "")
        assert seen.header("cache-control") == "no-store"
    assert "Only go on if you tapped" in visitor.get(BUTTON).text
    assert "tell it to nobody" in visitor.get("/link/messenger/number").text


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width", "height"), [("light", 1280, 800), ("dark", 360, 740)])
def test_the_pages_fit_a_phone_and_can_be_used_by_keyboard_alone(linking: Linking, scheme: str, width: int, height: int) -> None:
    visitor = Visitor(linking.house.origin)
    visitor.post_form("/consent", visitor.consent_fields(to_consent(linking, visitor)))
    cookies = [{"name": name, "value": value, "url": linking.house.origin} for name, value in visitor.jar.items()]
    with open_chromium() as browser:
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height})  # type: ignore[arg-type]
        context.add_cookies(cookies)  # type: ignore[arg-type]
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        PICTURES.mkdir(parents=True, exist_ok=True)
        for path, name, action in ((BUTTON, "link", "Go on to your bank"), ("/link/messenger/number", "number", "Back to Messenger")):
            page.goto(linking.house.origin + path)
            assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
            reached = page.get_by_text(action, exact=True)
            for _ in range(8):
                page.keyboard.press("Tab")
                if reached.evaluate("element => element === document.activeElement"):
                    break
            else:
                raise AssertionError(f"{action} is out of the keyboard's reach")
            page.screenshot(path=PICTURES / f"messenger-{name}-{scheme}.png")
        assert said == []
