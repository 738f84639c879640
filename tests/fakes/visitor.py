"""A browser without a face: keeps cookies as browsers do, follows nothing by itself, and can send what no browser would."""

from __future__ import annotations

import http.client
import json
import re
from dataclasses import dataclass, field
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

FORM = "application/x-www-form-urlencoded"


@dataclass
class Seen:
    """A response as it came."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = field(repr=False)

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name]
        return found[0] if found else None

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def location(self) -> str:
        return self.header("location") or ""

    def hidden(self, name: str) -> str:
        """The value of a hidden field."""
        found = re.search(rf'name="{name}" value="([^"]*)"', self.text)
        if found is None:
            raise LookupError(f"no field {name} on the page")
        return unescape(found[1])

    def boxes(self, name: str) -> list[str]:
        return [unescape(value) for value in re.findall(rf'<input type="checkbox" name="{name}" value="([^"]*)"', self.text)]

    @property
    def cookies(self) -> dict[str, str]:
        """Set-Cookie lines by cookie name."""
        return {value.split("=", 1)[0]: value for key, value in self.headers if key.lower() == "set-cookie"}


class Visitor:
    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.jar: dict[str, str] = {}

    def send(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None, *, cookies: bool = True) -> Seen:
        place = urlsplit(self.origin)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
        sent = dict(headers or {})
        if cookies and self.jar and "cookie" not in sent:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.jar.items())
        try:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            seen = Seen(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()
        if cookies:
            self._keep(seen)
        return seen

    def _keep(self, seen: Seen) -> None:
        for name, line in seen.cookies.items():
            value = line.split(";")[0].split("=", 1)[1]
            if "Max-Age=0" in line:
                self.jar.pop(name, None)
            else:
                self.jar[name] = value

    def get(self, path: str, **headers: str) -> Seen:
        return self.send("GET", path, headers=headers)

    def post_form(self, path: str, fields: dict[str, Any], **headers: str) -> Seen:
        sent = {"content-type": FORM, "origin": self.origin} | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send("POST", path, urlencode(fields, doseq=True).encode(), sent)

    # The steps of a customer's way.

    def open_chat(self) -> str:
        """Opens the chat page; returns the CSRF token that it shows."""
        return self.get("/").hidden("csrf")

    def ask(self, text: str, csrf: str, message_id: str = "message-0001", **extra: Any) -> Seen:
        body = json.dumps({"message_id": message_id, "text": text, **extra}).encode()
        return self.send("POST", "/chat/ask", body, {"content-type": "application/json", "origin": self.origin, "x-parley-csrf": csrf})

    def set_out(self, wish: str = "") -> str:
        """To the bank; returns the OAuth state that the bank was given."""
        seen = self.post_form("/link", {"csrf": self.open_chat(), "wish": wish})
        if seen.status != 303:
            raise LookupError(f"no way to the bank: {seen.status}")
        return parse_qs(urlsplit(seen.location).query)["state"][0]

    def come_back(self, state: str, code: str) -> Seen:
        return self.get("/link/callback?" + urlencode({"state": state, "code": code}))

    def consent_fields(self, page: Seen, **changes: Any) -> dict[str, Any]:
        fields = {name: page.hidden(name) for name in ("csrf", "once", "text_hash")}
        chosen = {"account": page.boxes("account")[:1], "projection": ["balance.available"], "lookback": "90", "days": "30", "decision": "allow"}
        return {**fields, **chosen, **changes}
