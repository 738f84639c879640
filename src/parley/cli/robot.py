"""A demo customer who links and asks through the real pages, over HTTP, the way a browser does: forms, cookies, redirects, nothing else.

It is for the demo bank, whose customers and passwords are public. It knows field names of forms, never a way around them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
import msgspec

PAGE_BYTES_MAX = 512 * 1024
REDIRECTS_MAX = 10
SECONDS_MAX = 20.0


class RobotLost(Exception):
    """A page was not what the robot expected. The message says which step; it never holds what the page held."""


@dataclass
class Control:
    """One field of a form."""

    name: str
    kind: str
    value: str
    checked: bool


@dataclass
class Form:
    """One form of a page and its fields."""

    action: str
    controls: list[Control] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        return [each.value for each in self.controls if each.name == name]

    def filled(self, answers: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
        """Hidden fields as they came, the answers as given, and the preset of everything else; a button counts only as an answer."""
        kept = [
            (each.name, each.value)
            for each in self.controls
            if each.name not in answers and (each.kind in ("hidden", "text", "select") or each.checked) and each.kind != "submit"
        ]
        return kept + [(name, value) for name, values in answers.items() for value in values]


class FormReader(HTMLParser):
    """Collects the forms of a page, and the CSRF token that its script would send."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.csrf = ""
        self.select: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(given.get("action", "")))
        elif tag == "body":
            self.csrf = given.get("data-csrf", "")
        elif tag == "select":
            self.select = given.get("name")
        elif tag == "option" and self.select and self.forms and "selected" in given:
            self.forms[-1].controls.append(Control(self.select, "select", given.get("value", ""), False))
        elif tag in ("input", "button") and self.forms and given.get("name"):
            kind = given.get("type", "submit" if tag == "button" else "text")
            self.forms[-1].controls.append(Control(given["name"], kind, given.get("value", ""), "checked" in given))

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self.select = None


@dataclass
class Page:
    """A page as it arrived."""

    url: str
    status: int
    text: str = field(repr=False)

    def form_with(self, *names: str) -> Form:
        """The first form that has all these fields."""
        reader = self.read()
        for form in reader.forms:
            if all(any(each.name == name for each in form.controls) for name in names):
                return form
        raise RobotLost(f"no form with {', '.join(names)} on {urlsplit(self.url).path} (status {self.status})")

    def form_for(self, path: str) -> Form:
        for form in self.read().forms:
            if urlsplit(urljoin(self.url, form.action)).path == path:
                return form
        raise RobotLost(f"no form for {path} on {urlsplit(self.url).path} (status {self.status})")

    def read(self) -> FormReader:
        reader = FormReader()
        reader.feed(self.text)
        return reader


class Robot:
    """One browser: its cookies and its way through pages. Use as an async context manager."""

    def __init__(self, chat_url: str) -> None:
        self.chat_url = chat_url
        self.client: aiohttp.ClientSession

    async def __aenter__(self) -> Robot:
        jar = aiohttp.CookieJar(unsafe=True)
        self.client = aiohttp.ClientSession(cookie_jar=jar, timeout=aiohttp.ClientTimeout(total=SECONDS_MAX), trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def get(self, url: str) -> Page:
        return await self._follow("GET", url, None, referrer=url)

    async def submit(self, page: Page, form: Form, answers: Mapping[str, Sequence[str]]) -> Page:
        return await self._follow("POST", urljoin(page.url, form.action), form.filled(answers), referrer=page.url)

    async def link(self, username: str, password: str) -> None:
        """From the chat page over the bank's login and account choice to an allowed consent: every account, everything on offer.

        Who proved a moment ago who she is is led to the consent page at once.
        """
        home = await self.get(self.chat_url + "/")
        page = await self.submit(home, home.form_for("/link"), {})
        if page.url == f"{self.chat_url}/consent":
            await self.allow_all(page, home="/")
        else:
            await self.sign_in_and_allow(page, username, password, home="/")

    async def sign_in_and_allow(self, login: Page, username: str, password: str, *, home: str) -> None:
        """From the bank's login page on; `home` is where an allowed consent leads."""
        accounts = await self.submit(login, login.form_with("username", "password"), {"username": [username], "password": [password]})
        choice = accounts.form_with("account", "decision")
        consent = await self.submit(accounts, choice, {"account": choice.values("account"), "decision": ["approve"]})
        await self.allow_all(consent, home=home)

    async def allow_all(self, consent: Page, *, home: str) -> None:
        """From the consent page on."""
        form = consent.form_with("account", "projection", "decision")
        answers = {"account": form.values("account"), "projection": form.values("projection"), "decision": ["allow"]}
        done = await self.submit(consent, form, answers)
        if done.status != 200 or urlsplit(done.url).path != home:
            raise RobotLost(f"linking ended on {urlsplit(done.url).path} with status {done.status}")

    async def ask(self, text: str, message_id: str) -> dict[str, Any]:
        """The chat's JSON answer to one question."""
        home = await self.get(self.chat_url + "/")
        headers = {"x-parley-csrf": home.read().csrf, "origin": self.chat_url, "content-type": "application/json"}
        body = msgspec.json.encode({"message_id": message_id, "text": text})
        async with self.client.post(self.chat_url + "/chat/ask", data=body, headers=headers) as answer:
            return msgspec.json.decode(await answer.content.read(PAGE_BYTES_MAX), type=dict[str, Any])

    async def _follow(self, method: str, url: str, fields: list[tuple[str, str]] | None, *, referrer: str) -> Page:
        """One request and the redirects after it, on http(s) addresses only."""
        for _ in range(REDIRECTS_MAX):
            headers = {"origin": "{0.scheme}://{0.netloc}".format(urlsplit(referrer))} if method == "POST" else {}
            async with self.client.request(method, url, data=fields, headers=headers, allow_redirects=False) as answer:
                text = (await answer.content.read(PAGE_BYTES_MAX)).decode(errors="replace")
                where = answer.headers.get("location")
                if answer.status not in (301, 302, 303, 307, 308) or where is None:
                    return Page(url, answer.status, text)
                method, fields, referrer, url = "GET", None, url, urljoin(url, where)
                if urlsplit(url).scheme not in ("http", "https"):
                    raise RobotLost("a redirect left the web")
        raise RobotLost("too many redirects")
