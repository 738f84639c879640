"""One of the bank's people at the console, without a browser: enrols, signs in and sends forms exactly as its pages would."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from urllib.parse import urlsplit

import aiohttp

from parley.cli import staff_desk
from parley.model.staff import Role
from parley.settings import load_settings
from tests.fakes.authenticator import SoftAuthenticator
from tests.house import Answer, RunningHouse, own_address, run

BYTES_MAX = 8 * 1024 * 1024


def console_origin(house: RunningHouse) -> str:
    """Browsers make no passkey for an address of digits, so the console of a house on loopback lives at localhost."""
    return f"http://localhost:{urlsplit(house.url).port}"


@dataclass
class Officer:
    """Her passkey, her cookies and the token that her pages show. `headers` are sent with everything, and an empty one is left out."""

    house: RunningHouse
    device: SoftAuthenticator = field(init=False)
    cookies: dict[str, str] = field(default_factory=dict)
    csrf: str = ""
    address: str = field(default_factory=own_address)

    def __post_init__(self) -> None:
        self.device = SoftAuthenticator(console_origin(self.house), "localhost")

    def enrol(self, link: str) -> Answer:
        invitation = {"x-parley-invitation": link.partition("#")[2]}
        options = self.send("POST", "/officer/enrol/options", b"{}", **invitation)
        if options.status != 200:
            return options
        return self.send("POST", "/officer/enrol", self.device.create(options.json), **invitation)

    def sign_in(self) -> Answer:
        options = self.send("POST", "/officer/sign-in/options", b"{}")
        if options.status != 200:
            return options
        answer = self.send("POST", "/officer/sign-in", self.device.get(options.json))
        if answer.status == 200:
            self.csrf = self.csrf_on(self.get("/officer/").text)
        return answer

    def get(self, path: str) -> Answer:
        return self.send("GET", path)

    def post(self, path: str, **fields: str) -> Answer:
        """A form of one of her pages."""
        body = aiohttp.FormData({"csrf": self.csrf} | fields)()
        return self.send("POST", path, body._value, content_type="application/x-www-form-urlencoded")

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        return run(self._send(method, path, body, headers))

    async def _send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        ours = {"host": urlsplit(self.device.origin).netloc, "cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if method == "POST":
            ours |= {"origin": self.device.origin, "sec-fetch-site": "same-origin", "content-type": "application/json"}
        sent = {name: value for name, value in (ours | {name.replace("_", "-"): value for name, value in headers.items()}).items() if value}
        connector = aiohttp.TCPConnector(local_addr=(self.address, 0))
        async with (
            aiohttp.ClientSession(connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()) as client,
            client.request(method, self.house.url + path, data=body, headers=sent, allow_redirects=False) as answer,
        ):
            text = (await answer.content.read(BYTES_MAX)).decode(errors="replace")
            for line in answer.headers.getall("set-cookie", []):
                for name, morsel in SimpleCookie(line).items():
                    self.cookies[name] = morsel.value
            return Answer(answer.status, text, {name.lower(): value for name, value in answer.headers.items()})

    @staticmethod
    def csrf_on(page: str) -> str:
        found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page)
        return found[1] if found else ""


def invited(house: RunningHouse, name: str, role: Role = Role.OFFICER) -> str:
    """The link that `parley staff add` prints for a new person."""
    return run(staff_desk.add(load_settings(house.demo.config), name, role)).link


def signed_in(house: RunningHouse, name: str, role: Role = Role.OFFICER) -> Officer:
    officer = Officer(house)
    for answer in (officer.enrol(invited(house, name, role)), officer.sign_in()):
        if answer.status != 200:
            raise AssertionError(answer.text)
    return officer


def texts_of(officer: Officer) -> dict[str, str]:
    """The files of the policy in force, as the form for a proposal shows them."""
    page = officer.get("/officer/policy/propose").text
    found = re.findall(r'<textarea [^>]*name="([\w.]+)"[^>]*>\n(.*?)</textarea>', page, re.DOTALL)
    return {html.unescape(name): html.unescape(text) for name, text in found}


def words_on(page: str) -> str:
    """What a page of refusal says."""
    found = re.search(r'class="words">(.*?)</p>', page, re.DOTALL)
    return html.unescape(found[1]) if found else ""


FORBID = """
@id("closed-today")
@reason("Your bank has closed this today.")
@basis("risk")
forbid (principal, action, resource);
"""
"""A rule that refuses everything: what a proposal adds."""
