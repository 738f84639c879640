"""npm's `oidc-provider`, a certified OAuth server that nobody here wrote, as a process: a stand-in for a bank, and the control of our own server."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from html import unescape
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qsl, urljoin, urlsplit

import aiohttp

from tests.peers.node import BIN, environment, installed

HOPS_MAX = 12


class CertifiedServer:
    """A running server. `url` is its issuer. `clients` as OpenID Connect dynamic registration spells them."""

    def __init__(self, folder: Path, *, clients: Sequence[Mapping[str, object]], **settings: object) -> None:
        self._package = installed(Path(__file__).parent / "oidc_provider")
        self._settings = folder / "oidc-provider.json"
        self._settings.write_text(json.dumps({"clients": list(clients), **settings}))
        self.url = ""

    def __enter__(self) -> CertifiedServer:
        command = [str(BIN / "node"), "server.mjs", str(self._settings)]
        self._process = subprocess.Popen(
            command, cwd=self._package, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            _, complaint = self._process.communicate(timeout=10)
            raise RuntimeError(complaint[-2000:])
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.communicate(timeout=10)


async def sign_in_and_agree(url: str, redirect_uri: str, *, login: str = "ada", agree: bool = True) -> list[tuple[str, str]]:
    """Walk the server's own pages as a browser would, from the address that the client gave to what it brings back."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        method, form = "GET", None
        for _ in range(HOPS_MAX):
            async with browser.request(method, url, data=form, allow_redirects=False) as response:
                page = await response.text()
                if response.status in (302, 303):
                    url, method, form = urljoin(url, response.headers["location"]), "GET", None
                    if url.startswith(redirect_uri):
                        return parse_qsl(urlsplit(url).query)
                    continue
            assert response.status == 200, page
            url, method, form = _next_step(page, url, login, agree=agree)
    raise AssertionError("the pages never came to an end")


def _next_step(page: str, here: str, login: str, *, agree: bool) -> tuple[str, str, dict[str, str] | None]:
    prompt = re.search(r'name="prompt" value="(\w+)"', page)
    action = re.search(r'<form[^>]*action="([^"]+)"', page)
    assert prompt is not None and action is not None, page
    if not agree:
        abort = re.search(r'href="([^"]+/abort)"', page)
        assert abort is not None, page
        return urljoin(here, unescape(abort[1])), "GET", None
    form = {"prompt": prompt[1], **({"login": login, "password": "any"} if prompt[1] == "login" else {})}
    return urljoin(here, unescape(action[1])), "POST", form
