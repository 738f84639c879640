"""Checklist B at the doors of a running house: two customers, an assistant and a voice platform, each trying what is not theirs."""

from __future__ import annotations

import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from parley.cli.robot import Page
from tests.fakes.allowing import AllowingRobot
from tests.fakes.partner import answer_in
from tests.house import Answer, RunningHouse, Visitor, parley, run

CALLBACK = "http://127.0.0.1:4711/callback"
VOICE = "https://pitangui.amazon.com/api/skill/link/M1"
SETTINGS = """
[[linked_platforms]]
channel = "alexa"
platform = "larkspur-voice"
"""
VOICE_RULE = """
@id("voice")
@reason("Customers may ask for a balance by voice.")
@rows_max("1")
@lookback_days_max("30")
permit (principal == Platform::"larkspur-voice", action in [Action::"afford.yesno", Action::"balance.available"], resource)
when {
  context.channel == Channel::"alexa" && context.purpose == Purpose::"answer_customer" && resource == Data::"account"
};
"""
VOICE_PLATFORM = """
[[platforms]]
id = "larkspur-voice"
name = "Larkspur Voice"
legal_name = "Larkspur Voice Inc"
website = "https://voice.example"
contact = "privacy@voice.example"
"""
VERIFIER = "v" * 43
CHALLENGE = urlsafe_b64encode(sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


@dataclass
class Assisted:
    """The running house, and the secret that the voice platform was given."""

    house: RunningHouse
    secret: str

    @property
    def url(self) -> str:
        return self.house.url


@pytest.fixture(scope="module")
def assisted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Assisted]:
    policy = policy_with_voice(tmp_path_factory.mktemp("policy"))
    running = RunningHouse(tmp_path_factory.mktemp("assisted"), f'{BUDGET}policy_file = "{policy}"\n{SETTINGS}').start()
    add = ("client", "add")
    config = ("--config", running.data / "parley.toml")
    assistant = ("assistant", "--platform", "larkspur-assistant", "--title", "Assistant", "--host", "assistant.example", "--profile", "mcp")
    voice = ("voice", "--platform", "larkspur-voice", "--title", "Voice", "--host", "voice.example", "--profile", "link")
    assert parley(*add, *assistant, "--redirect", "http://127.0.0.1/callback", *config).returncode == 0
    told = parley(*add, *voice, "--redirect", VOICE, *config)
    yield Assisted(running, told.stdout.rsplit(": ", 1)[1].strip())
    running.stop_unharmed()


NOT_LET_IN = (303, 307, 401, 403)
"""Refused, or sent to where one signs in."""

BUDGET = "answers_per_day = 10000\n"


def policy_with_voice(folder: Path) -> Path:
    """The standard policy, and a voice platform beside the others."""
    for name in ("policy.cedar", "particulars.toml"):
        (folder / name).write_text((Path(str(files("parley.policy.packs"))) / "standard" / name).read_text())
    with (folder / "policy.cedar").open("a") as rules:
        rules.write(VOICE_RULE)
    particulars = (folder / "particulars.toml").read_text().replace('"mcp"]', '"mcp", "alexa"]')
    (folder / "particulars.toml").write_text(particulars + VOICE_PLATFORM)
    return folder


def asked(**changes: str | None) -> str:
    """The query of an assistant's request; None leaves a parameter out."""
    params: dict[str, str | None] = {
        "response_type": "code",
        "client_id": "assistant",
        "redirect_uri": CALLBACK,
        "state": "state-1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "scope": "balance:read transactions:read",
        **changes,
    }
    return urlencode({key: value for key, value in params.items() if value is not None})


async def tokens_of(assisted: Assisted, username: str, **allowed: Any) -> dict[str, Any]:
    """The assistant's tokens, after this customer allowed it."""
    house = assisted.house
    async with AllowingRobot(house.url, CALLBACK) as robot:
        address = await robot.allow(f"{house.url}/assistants/authorize?{asked()}", house.customer(username), **allowed)
    fields = {"grant_type": "authorization_code", "code": answer_in(address)["code"], "redirect_uri": CALLBACK, "client_id": "assistant"}
    async with Visitor(house.url) as visitor:
        return (await posted(visitor, "/assistants/token", {**fields, "code_verifier": VERIFIER})).json


async def posted(visitor: Visitor, path: str, fields: dict[str, str], **headers: str) -> Answer:
    sent = {"content_type": "application/x-www-form-urlencoded", "x_parley_csrf": "", "origin": "", **headers}
    return await visitor.call("POST", path, urlencode(fields).encode(), **sent)


async def tool(visitor: Visitor, token: str, name: str, **arguments: Any) -> Answer:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
    return await visitor.post_json("/mcp", body, **bare(f"Bearer {token}"))


def bare(authorization: str) -> dict[str, str]:
    """The headers of a program: nothing of a browser's page."""
    return {"authorization": authorization, "origin": "", "x_parley_csrf": ""}


@asynccontextmanager
async def signed_in(house: RunningHouse, username: str) -> AsyncIterator[Visitor]:
    """A customer with a linked chat and an open page of her own."""
    customer = house.customer(username)
    async with Visitor(house.url) as visitor:
        await visitor.link_as(customer)
        page = await visitor.get(f"{house.url}/me")
        if "/me/sign-out" not in page.text:
            login = await visitor.submit(page, page.form_for("/me/sign-in/bank"), {})
            accounts = await visitor.submit(login, login.form_with("username", "password"), {"username": [username], "password": [customer.password]})
            choice = accounts.form_with("account", "decision")
            page = await visitor.submit(accounts, choice, {"account": choice.values("account"), "decision": ["approve"]})
        assert "/me/sign-out" in page.text
        yield visitor


def plain(text: str) -> str:
    """A page without what is new at every visit."""
    return re.sub(r'(csrf"? (?:value|content)?=?"|data-csrf=")[^"]*', "", text)


def test_B27_C12_what_is_anothers_is_the_same_as_what_does_not_exist(assisted: Assisted) -> None:
    house = assisted.house

    async def story() -> None:
        async with signed_in(house, "ada") as ada, signed_in(house, "ben") as ben, Visitor(house.url) as nobody:
            index = (await ada.question("what's my balance?"))["why"]["log_index"]
            grants = re.findall(r"/me/grants/([0-9a-f]{32})", (await ada.get(f"{house.url}/me")).text)
            assert grants
            for real, invented in (
                (f"/chat/receipts/{index}", "/chat/receipts/999999"),
                (f"/me/receipts/{index}", "/me/receipts/999999"),
                (f"/me/grants/{grants[0]}", f"/me/grants/{'0' * 32}"),
                (f"/me/grants/{grants[0]}/1/record.json", f"/me/grants/{'0' * 32}/1/record.json"),
                (f"/consent/extend/{grants[0]}", f"/consent/extend/{'0' * 32}"),
            ):
                assert (await ada.call("GET", real)).status == 200, real
                for stranger in (ben, nobody):
                    seen, nothing = await stranger.call("GET", real), await stranger.call("GET", invented)
                    assert seen.status == nothing.status != 200, real
                    assert plain(seen.text).replace(real, "") == plain(nothing.text).replace(invented, ""), real
            export = (await ben.call("GET", "/me/export.json")).text
            assert not any(grant in export for grant in grants)

    run(story())


def test_C11_a_token_answers_about_its_own_customer_and_nobody_else(assisted: Assisted) -> None:
    house = assisted.house

    async def story() -> None:
        hers, his = await tokens_of(assisted, "ada"), await tokens_of(assisted, "ben")
        async with Visitor(house.url) as visitor:
            for tokens, owner, other in ((hers, "ada", "ben"), (his, "ben", "ada")):
                text = (await tool(visitor, tokens["access_token"], "get_balance")).text
                mine, others = house.customer(owner).accounts[0], house.customer(other).accounts
                assert mine.nickname in text
                assert not any(
                    account.nickname in text for account in others if account.nickname not in {a.nickname for a in house.customer(owner).accounts}
                )
                assert not any(account.number in text or account.account_id in text for account in (*house.customer(owner).accounts, *others))

    run(story())


def test_B5_what_another_consent_of_the_same_client_allows_a_token_does_not(assisted: Assisted) -> None:
    """Ada allowed the assistant balances once and transactions another time: each token opens its own consent."""

    async def story() -> None:
        balances = await tokens_of(assisted, "chiara", projections=["balance.available"])
        await tokens_of(assisted, "chiara")
        assert balances["scope"] == "balance:read"
        async with Visitor(assisted.url) as visitor:
            assert (await tool(visitor, balances["access_token"], "get_balance")).status == 200
            before = len(assisted.house.entries())
            refused = await tool(visitor, balances["access_token"], "get_recent_transactions")
            assert refused.status == 403
            assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
            (entry,) = assisted.house.entries(before)
            assert entry.facts["k"] == "refusal"
            assert "not_consented" in entry.entry.decode()

    run(story())


def test_B29_what_was_not_allowed_is_in_no_answer_and_unknown_arguments_are_refused(assisted: Assisted) -> None:
    """Grace allowed a yes or no, never a balance: not a figure of it leaves, however it is asked for."""

    async def story() -> None:
        tokens = await tokens_of(assisted, "grace", projections=["afford.yesno"])
        async with Visitor(assisted.url) as visitor:
            answer = await tool(visitor, tokens["access_token"], "get_balance")
            told = answer.json["result"]
            assert (told["isError"], told["structuredContent"]["code"]) == (True, "not_consented")
            assert not re.search(r"[0-9]+\.[0-9]{2}", answer.text)
            for unknown in ({"projection": "balance.available"}, {"customer": "ada"}, {"fields": ["balance_booked"]}, {"account": "everything"}):
                refused = (await tool(visitor, tokens["access_token"], "get_balance", **unknown)).json["result"]
                assert (refused["isError"], refused["structuredContent"]["code"]) == (True, "body_wrong_shape")

    run(story())


def test_B10_B20_after_stop_on_her_page_the_assistant_is_silent_at_once(assisted: Assisted) -> None:
    async def story() -> None:
        async with signed_in(assisted.house, "daichi") as daichi:
            tokens = await tokens_of(assisted, "daichi")
            assert (await tool(daichi, tokens["access_token"], "get_balance")).status == 200
            page = await daichi.get(f"{assisted.url}/me")
            await stop_everything(daichi, page)
            assert (await tool(daichi, tokens["access_token"], "get_balance")).status == 401
            fields = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "client_id": "assistant"}
            assert (await posted(daichi, "/assistants/token", fields)).json["error"] == "invalid_grant"

    run(story())


async def stop_everything(visitor: Visitor, page: Page) -> None:
    for form in page.read().forms:
        fields = {control.name: control.value for control in form.controls}
        if urlsplit(form.action).path == "/me/stop" and fields.get("platform") in ("*", "larkspur-assistant"):
            await visitor.submit(page, form, {})
            return
    raise LookupError("no way to stop on her page")


def test_B31_the_key_to_one_door_opens_no_other(assisted: Assisted) -> None:
    """A customer's session, an assistant's token, a voice platform's secret: each is nothing at the others' doors."""
    house = assisted.house

    async def story() -> None:
        tokens = await tokens_of(assisted, "esme")
        async with signed_in(house, "farid") as customer, Visitor(house.url) as visitor:
            cookies = {each.key: each.value for each in customer.client.cookie_jar}
            for secret in (tokens["access_token"], tokens["refresh_token"], assisted.secret, *cookies.values()):
                for scheme in ("Bearer", "DPoP"):
                    if not (secret == tokens["access_token"] and scheme == "Bearer"):
                        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
                        assert (await visitor.post_json("/mcp", body, authorization=f"{scheme} {secret}", origin="", x_parley_csrf="")).status == 401
                    asked_api = await visitor.post_json(
                        "/api/v1/answers", {"question": "what's my balance?"}, authorization=f"{scheme} {secret}", origin=""
                    )
                    assert asked_api.status == 401
                    for path in ("/me/export.json", "/officer/releases", "/officer/policy"):
                        answer = await visitor.call("GET", path, authorization=f"{scheme} {secret}")
                        assert answer.status in NOT_LET_IN, (path, answer.status)
            refused = await customer.call("GET", "/officer/releases")
            assert refused.status in NOT_LET_IN

    run(story())


def test_B8_nobody_registers_a_client_from_outside(assisted: Assisted) -> None:
    async def story() -> None:
        async with Visitor(assisted.url) as visitor:
            for path in ("/assistants/register", "/fapi/register", "/linking/alexa/register", "/register", "/connect/register"):
                answer = await visitor.post_json(path, {"client_name": "x", "redirect_uris": [CALLBACK]}, origin="")
                assert answer.status == 404
            for path in ("/assistants", "/fapi", "/linking/alexa"):
                told = (await visitor.call("GET", f"/.well-known/oauth-authorization-server{path}")).json
                assert "registration_endpoint" not in told
                assert told["issuer"] == f"{assisted.url}{path}"
                assert told["code_challenge_methods_supported"] == ["S256"]
            assert told["token_endpoint_auth_methods_supported"] == ["client_secret_basic", "client_secret_post"]

    run(story())


def test_B12_the_customer_is_asked_every_time(assisted: Assisted) -> None:
    """She allowed it a minute ago, in this very browser; the next request asks again, with `prompt=none` or without."""
    house = assisted.house

    async def story() -> None:
        async with AllowingRobot(house.url, CALLBACK) as robot:
            await robot.allow(f"{house.url}/assistants/authorize?{asked()}", house.customer("grace"))
            for more in ("", "&prompt=none", "&prompt=none&max_age=0"):
                page = await robot.get(f"{house.url}/assistants/authorize?{asked()}{more}")
                assert "wants to ask about your accounts" in page.text
                assert "assistant.example" in page.text
                assert "goes to a program on this computer" in page.text
            address = await robot.refuse(f"{house.url}/assistants/authorize?{asked(state='s' * 1000)}")
            told = answer_in(address)
            assert (told["error"], told["iss"], told["state"]) == ("access_denied", f"{house.url}/assistants", "s" * 1000)

    run(story())


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "unknown"},
        {"client_id": "voice"},
        {"client_id": "https://unlisted.example/client.json"},
        {"client_id": None},
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": "http://localhost:4711/callback"},
        {"redirect_uri": CALLBACK + "/../x"},
        {"redirect_uri": CALLBACK + "?x=y"},
        {"redirect_uri": CALLBACK + "#x"},
        {"redirect_uri": "http://127.0.0.1:4711\\@evil.example/callback"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": None},
    ],
)
def test_C7_a_request_with_another_address_or_client_sends_nobody_anywhere(assisted: Assisted, changes: dict[str, str | None]) -> None:
    async def story() -> None:
        async with Visitor(assisted.url) as visitor:
            answer = await visitor.call("GET", f"/assistants/authorize?{asked(**changes)}")
            assert 400 <= answer.status < 500
            assert "location" not in answer.headers
            assert "evil.example" not in answer.text

    run(story())


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"resource": "https://evil.example/mcp"}, "invalid_target"),
        ({"scope": "dpv:Advertising"}, "invalid_scope"),
        ({"scope": "everything"}, "invalid_scope"),
    ],
)
def test_C6_what_is_wrong_with_a_known_clients_request_is_told_there_and_no_code_is_given(
    assisted: Assisted, changes: dict[str, str | None], error: str
) -> None:
    async def story() -> None:
        async with Visitor(assisted.url) as visitor:
            answer = await visitor.call("GET", f"/assistants/authorize?{asked(**changes)}")
            assert answer.status == 303
            told = answer_in(answer.headers["location"])
            assert answer.headers["location"].startswith(CALLBACK)
            assert (told["error"], told["state"], told["iss"]) == (error, "state-1", f"{assisted.url}/assistants")

    run(story())


def test_C20_the_page_that_says_who_asks_fits_no_frame_and_leads_only_where_it_must(assisted: Assisted) -> None:
    async def story() -> None:
        async with Visitor(assisted.url) as visitor:
            answer = await visitor.call("GET", f"/assistants/authorize?{asked()}")
            policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
            assert policy["frame-ancestors"] == "'none'"
            assert policy["default-src"] == "'none'"
            bank = assisted.house.demo.bank_url
            assert set(policy["form-action"].split()) == {"'self'", bank, "http://127.0.0.1:4711"}
            assert answer.headers["x-frame-options"] == "DENY"
            assert "<script" not in answer.text

    run(story())


def test_B1_no_door_for_tokens_lets_a_browsers_script_in(assisted: Assisted) -> None:
    async def story() -> None:
        async with Visitor(assisted.url) as visitor:
            for path in (
                "/assistants/token",
                "/assistants/revoke",
                "/assistants/authorize",
                "/fapi/token",
                "/fapi/par",
                "/linking/alexa/token",
                "/mcp",
            ):
                for method in ("OPTIONS", "POST", "GET"):
                    answer = await visitor.call(method, path, origin="https://evil.example", access_control_request_method="POST")
                    assert not [name for name in answer.headers if name.startswith("access-control-")], path

    run(story())


def test_B11_the_voice_platform_gets_a_link_token_in_time_and_it_opens_nothing_by_itself(assisted: Assisted) -> None:
    house = assisted.house

    async def story() -> None:
        query = urlencode({"response_type": "code", "client_id": "voice", "redirect_uri": VOICE, "state": "s", "scope": "link"})
        async with AllowingRobot(house.url, "https://pitangui.amazon.com/") as robot:
            address = await robot.allow(f"{house.url}/linking/alexa/authorize?{query}", house.customer("ada"))
        fields = {"grant_type": "authorization_code", "code": answer_in(address)["code"], "redirect_uri": VOICE}
        async with Visitor(house.url) as visitor:
            wrong = await posted(visitor, "/linking/alexa/token", {**fields, "client_id": "voice", "client_secret": secrets.token_urlsafe(32)})
            assert (wrong.status, wrong.json["error"]) == (401, "invalid_client")
            answer = await posted(visitor, "/linking/alexa/token", {**fields, "client_id": "voice", "client_secret": assisted.secret})
            tokens = answer.json
            assert (answer.status, tokens["token_type"], tokens["expires_in"], tokens["scope"]) == (200, "Bearer", 3600, "link")
            assert answer.headers["cache-control"] == "no-store"
            assert (await tool(visitor, tokens["access_token"], "get_balance")).status == 401

    run(story())


def test_B18_every_way_to_a_link_leads_over_the_banks_own_login(assisted: Assisted) -> None:
    """By the chat, a terminal, an assistant or a voice platform: nobody is linked who did not sign in at her bank."""
    house = assisted.house
    bank = house.demo.bank_url

    async def story() -> None:
        async with Visitor(house.url) as visitor:
            home = await visitor.get(f"{house.url}/")
            assert (await visitor.submit(home, home.form_for("/link"), {})).url.startswith(bank)
            voice = urlencode({"response_type": "code", "client_id": "voice", "redirect_uri": VOICE, "state": "s", "scope": "link"})
            for path in (f"/assistants/authorize?{asked()}", f"/linking/alexa/authorize?{voice}"):
                page = await visitor.get(house.url + path)
                away = await visitor.submit(page, page.form_with("request_uri", "decision"), {"decision": ["go"]})
                assert away.url.startswith(bank), path

    run(story())


def test_B30_an_assistant_that_calls_without_end_is_told_to_wait(assisted: Assisted) -> None:
    async def story() -> None:
        tokens = await tokens_of(assisted, "chiara")
        listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        async with Visitor(assisted.url) as visitor:
            seen = [await visitor.post_json("/mcp", listing, **bare(f"Bearer {tokens['access_token']}")) for _ in range(120)]
            assert {each.status for each in seen} == {200, 429}
            assert all(int(each.headers["retry-after"]) > 0 for each in seen if each.status == 429)

    run(story())


def test_B32_B30_who_asks_for_tokens_without_end_is_told_to_wait(assisted: Assisted) -> None:
    async def story() -> None:
        async with Visitor(assisted.url) as visitor:
            seen = set()
            for _ in range(400):
                answer = await posted(visitor, "/assistants/token", {"grant_type": "authorization_code", "client_id": "assistant", "code": "x"})
                seen.add(answer.status)
                if answer.status == 429:
                    assert int(answer.headers["retry-after"]) > 0
                    break
            assert seen == {400, 429}

    run(story())
