"""Nobody opens a door of the officer's console that is not hers: every route with every role and none, and every way to trick the way in."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
from starlette.routing import Route

from parley.console.officer.roles import RIGHTS, Right
from parley.console.officer.routes import DOORS, officer_routes
from parley.model.staff import Role
from tests.fakes.authenticator import PRESENT, SoftAuthenticator
from tests.fakes.officer import FORBID, Officer, console_origin, invited, signed_in, texts_of, words_on
from tests.house import RunningHouse, parley, run

ROLES = (Role.OFFICER, Role.AUDITOR, Role.OPERATOR, None)


@dataclass
class Place:
    """A running house of its own, with somebody in each role."""

    house: RunningHouse
    people: Mapping[Role | None, Officer]

    @property
    def officer(self) -> Officer:
        return self.people[Role.OFFICER]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    house = RunningHouse(tmp_path_factory.mktemp("officers")).start()
    people: dict[Role | None, Officer] = {role: signed_in(house, f"Somebody ({role.value})", role) for role in Role}
    people[None] = Officer(house)
    yield Place(house, people)
    house.stop_unharmed()


def address(path: str) -> str:
    return path.replace("{version}", "1").replace("{proposal}", "0123456789abcdef")


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.value if role else "nobody")
@pytest.mark.parametrize("door", [door for door in DOORS if door.path != "/officer/sign-out"], ids=lambda door: f"{door.method} {door.path}")
def test_B31_every_route_with_every_role_and_none(place: Place, door: object, role: Role | None) -> None:
    """Whoever may is let through to whatever the room says (nothing is there, a form is incomplete); whoever may not is told so and no more."""
    method, path, right = door.method, address(door.path), door.right  # type: ignore[attr-defined]
    person = place.people[role]
    answer = person.get(path) if method == "GET" else person.post(path)
    if role is None:
        assert (answer.status, answer.headers.get("location")) == ((303, "/officer/sign-in") if method == "GET" else (401, None))
    elif right in RIGHTS[role]:
        assert answer.status in ((200, 404) if method == "GET" else (303, 404, 409, 422)), answer.text
        assert "not_your_role" not in answer.text
    else:
        assert answer.status == 403
        assert "not_your_role" in answer.text


def test_the_table_of_rights_gives_no_role_more_than_was_meant() -> None:
    assert RIGHTS[Role.AUDITOR] == {Right.SEE_COUNTS, Right.SEE_POLICY}
    assert RIGHTS[Role.OPERATOR] == {Right.SEE_COUNTS, Right.PULL}
    deciding = {door.path for door in DOORS if door.right is Right.DECIDE}
    assert {"/officer/policy/propose", "/officer/switches/undo", "/officer/policy/proposals/{proposal}/approve"} <= deciding
    assert all(door.fresh for door in DOORS if door.path.endswith(("/undo", "/approve")))


def test_every_address_below_the_console_is_in_the_table_or_open_to_all() -> None:
    class Anything:
        def __getattr__(self, name: str) -> object:
            return Anything()

    from parley.console.officer import ConsoleSettings
    from parley.console.passkeys import PasskeySite

    site = PasskeySite.at("https://chat.bank.example", "A bank")
    routes = officer_routes(desks=Anything(), site=site, settings=ConsoleSettings("A bank", secure=True), clock=lambda: None)  # type: ignore[arg-type,return-value]
    mounted = {(method, route.path) for route in routes if isinstance(route, Route) for method in route.methods or () if method != "HEAD"}
    behind = {(door.method, door.path) for door in DOORS}
    assert mounted - behind == {
        ("GET", "/officer"),
        ("GET", "/officer/sign-in"),
        ("POST", "/officer/sign-in"),
        ("POST", "/officer/sign-in/options"),
        ("GET", "/officer/enrol"),
        ("POST", "/officer/enrol"),
        ("POST", "/officer/enrol/options"),
        ("GET", "/officer/static/{name}"),
    }
    assert behind <= mounted


def test_a_customers_cookie_is_nobodys_here_and_an_officers_is_nobodys_there(place: Place) -> None:
    async def story() -> tuple[int, int]:
        async with place.house.visitor() as visitor:
            stolen = {cookie.key: cookie.value for cookie in visitor.client.cookie_jar}
            stranger = Officer(place.house, cookies={**stolen, "parley-officer": stolen["parley"]})
            here = (await stranger._send("GET", "/officer/", None, {})).status
            token = place.officer.cookies["parley-officer"]
            there = await visitor.call("GET", "/terminal/state", authorization=f"Bearer {token}")
            return here, there.status

    here, there = run(story())
    assert (here, there) == (303, 401)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"origin": "https://evil.example"}, "origin_wrong"),
        ({"origin": ""}, "origin_wrong"),
        ({"origin": "null"}, "origin_wrong"),
        ({"origin": "http://127.0.0.1:1"}, "origin_wrong"),
        ({"sec_fetch_site": "cross-site"}, "origin_wrong"),
        ({"sec_fetch_site": "same-site"}, "origin_wrong"),
        ({"content_type": "application/json"}, "content_type_wrong"),
        ({"content_type": "text/plain"}, "content_type_wrong"),
    ],
)
def test_C2_another_sites_form_pulls_no_switch(place: Place, headers: dict[str, str], code: str) -> None:
    body = f"csrf={place.officer.csrf}&scope=everything&what=".encode()
    answer = place.officer.send("POST", "/officer/switches/pull", body, **({"content_type": "application/x-www-form-urlencoded"} | headers))
    assert answer.status in (403, 415) and code in answer.text
    assert "OFF" not in place.officer.get("/officer/switches").text


def test_C2_a_form_without_its_token_or_with_somebody_elses_does_nothing(place: Place) -> None:
    for csrf in ("", "0" * 64, place.people[Role.OPERATOR].csrf):
        answer = place.officer.post("/officer/switches/pull", csrf=csrf, scope="everything", what="")
        assert (answer.status, "form_stale" in answer.text) == (409, True)
    twice = f"csrf={place.officer.csrf}&scope=everything&scope=platform&what=".encode()
    answer = place.officer.send("POST", "/officer/switches/pull", twice, content_type="application/x-www-form-urlencoded")
    assert answer.status == 422
    assert "OFF" not in place.officer.get("/officer/switches").text


@pytest.mark.parametrize(
    "body",
    [b"\xff\xfe", b"&".join(b"a%d=1" % number for number in range(300)), b"csrf=" + b"x" * 20_000, b"", b"csrf=%FF%FE&scope=everything"],
    ids=["binary", "many", "long", "empty", "not-utf8"],
)
def test_an_unreadable_form_is_refused_in_plain_words(place: Place, body: bytes) -> None:
    answer = place.officer.send("POST", "/officer/switches/pull", body, content_type="application/x-www-form-urlencoded")
    assert answer.status in (409, 413, 422), answer.text


@pytest.mark.parametrize(
    ("scope", "what"), [("banana", ""), ("platform", "no-such-platform"), ("purpose", "advertising"), ("everything", "x"), ("", "")]
)
def test_a_switch_that_does_not_exist_cannot_be_pulled(place: Place, scope: str, what: str) -> None:
    assert place.officer.post("/officer/switches/pull", scope=scope, what=what).status == 404


def test_an_invitation_works_once_and_only_whole(place: Place) -> None:
    link = invited(place.house, "Once only")
    first = Officer(place.house)
    assert first.enrol(link[:-1]).code == "invitation_spent"
    assert first.enrol(link.replace("#", "#A")).code == "invitation_spent"
    assert first.enrol(link).status == 200
    assert Officer(place.house).enrol(link).code == "invitation_spent"
    assert first.sign_in().status == 200


def test_the_invitation_stands_behind_the_hash_where_no_server_reads_it(place: Place) -> None:
    link = invited(place.house, "Hash")
    assert link.startswith(f"{console_origin(place.house)}/officer/enrol#") and "?" not in link


def test_B16_an_unknown_passkey_a_wrong_one_and_a_spent_challenge_read_alike(place: Place) -> None:
    unknown = Officer(place.house).sign_in()
    officer = signed_in(place.house, "Wrong signature")
    officer.device.key = SoftAuthenticator("", "").key
    wrong = officer.sign_in()
    spent = Officer(place.house)
    options = spent.send("POST", "/officer/sign-in/options", b"{}").json
    spent.cookies.clear()
    without = spent.send("POST", "/officer/sign-in", officer.device.get(options))
    assert {(each.status, each.text) for each in (unknown, wrong, without)} == {(unknown.status, unknown.text)}
    assert unknown.code == "passkey_rejected"


def test_C5_an_assertion_works_once(place: Place) -> None:
    officer = signed_in(place.house, "Replayed")
    options = officer.send("POST", "/officer/sign-in/options", b"{}").json
    ceremony = dict(officer.cookies)
    sent = officer.device.get(options)
    assert officer.send("POST", "/officer/sign-in", sent).status == 200
    thief = Officer(place.house, cookies=ceremony)
    assert thief.send("POST", "/officer/sign-in", sent).code == "passkey_rejected"


def test_a_passkey_without_the_persons_finger_or_pin_does_not_sign_in(place: Place) -> None:
    officer = signed_in(place.house, "No finger")
    officer.device.flags = PRESENT
    assert officer.sign_in().code == "passkey_rejected"


def test_B17_a_sign_in_gets_a_new_token_and_ends_the_old_one(place: Place) -> None:
    officer = signed_in(place.house, "Renewed")
    old = officer.cookies["parley-officer"]
    assert officer.sign_in().status == 200
    assert officer.cookies["parley-officer"] != old
    assert Officer(place.house, cookies={"parley-officer": old}).get("/officer/").status == 303


def test_B17_signing_out_ends_the_session_on_the_server(place: Place) -> None:
    officer = signed_in(place.house, "Leaving")
    token = officer.cookies["parley-officer"]
    assert officer.post("/officer/sign-out").headers["location"] == "/officer/sign-in"
    assert officer.cookies["parley-officer"] == ""
    assert Officer(place.house, cookies={"parley-officer": token}).get("/officer/").status == 303


def test_somebody_ends_her_own_sign_ins_and_an_officer_anybodys(place: Place) -> None:
    operator, victim = signed_in(place.house, "Night shift", Role.OPERATOR), signed_in(place.house, "Lost her laptop", Role.OPERATOR)
    mine = re.search(r'name="session" value="([0-9a-f]+)"', victim.get("/officer/sign-ins").text)
    assert mine is not None
    assert operator.post("/officer/sign-ins/end", session=mine[1]).status == 403
    assert victim.get("/officer/").status == 200
    assert place.officer.post("/officer/sign-ins/end", session=mine[1]).status == 303
    assert victim.get("/officer/").status == 303


def test_whoever_is_removed_is_out_at_once(place: Place) -> None:
    officer = signed_in(place.house, "Going away")
    done = parley("staff", "remove", "Going away", "--data", place.house.data)
    assert done.returncode == 0, done.stderr
    assert officer.get("/officer/").status == 303
    assert officer.sign_in().code == "passkey_rejected"
    assert "Going away" not in place.officer.get("/officer/people").text.partition("What they did")[0]


def test_a_sign_in_that_is_old_pulls_a_switch_but_opens_nothing(place: Place) -> None:
    """The records are turned back eleven minutes, as if she had signed in then."""
    asking, agreeing = signed_in(place.house, "Asking"), signed_in(place.house, "Agreeing")
    assert asking.post("/officer/switches/pull", scope="purpose", what="customer_care").status == 303
    assert asking.post("/officer/switches/ask", scope="purpose", what="customer_care").status == 303
    age(place.house, "Agreeing", minutes=11)
    stale = agreeing.post("/officer/switches/undo", scope="purpose", what="customer_care")
    assert (stale.status, "sign_in_too_old" in stale.text) == (403, True)
    assert agreeing.post("/officer/switches/pull", scope="purpose", what="make_payment").status == 303
    assert agreeing.sign_in().status == 200
    assert agreeing.post("/officer/switches/undo", scope="purpose", what="customer_care").status == 303
    assert asking.post("/officer/switches/ask", scope="purpose", what="make_payment").status == 303
    assert agreeing.post("/officer/switches/undo", scope="purpose", what="make_payment").status == 303


def test_B17_a_session_ends_after_a_quarter_of_an_hour_of_silence_and_after_a_working_day(place: Place) -> None:
    idle, old = signed_in(place.house, "Idle"), signed_in(place.house, "Long day")
    turn_back(place.house, "seen_at", "Idle", 16)
    turn_back(place.house, "expires_at", "Long day", 8 * 60 + 1)
    assert idle.get("/officer/").status == 303
    assert old.get("/officer/").status == 303


def test_B19_the_cookie_and_the_pages_are_protected(place: Place) -> None:
    officer = signed_in(place.house, "Headers")
    options = officer.send("POST", "/officer/sign-in/options", b"{}")
    flags = options.headers["set-cookie"]
    assert "HttpOnly" in flags and "SameSite=Strict" in flags
    page = officer.get("/officer/policy")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "'unsafe" not in policy
    assert page.headers["cache-control"] == "no-store" and page.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<script(?![^>]*src=\"/officer/static/)|\son\w+=|style=", page.text)


def test_pages_at_another_name_of_the_machine_lead_to_the_one_where_passkeys_work(place: Place) -> None:
    stranger = Officer(place.house)
    for host in ("127.0.0.1:1", "evil.example"):
        answer = stranger.send("GET", "/officer/sign-in", host=host)
        assert (answer.status, answer.headers["location"]) == (307, f"{console_origin(place.house)}/officer/sign-in")


def test_a_name_and_a_note_full_of_markup_stay_text(place: Place) -> None:
    officer = signed_in(place.house, "<b onclick=x>Mallory</b>")
    texts = texts_of(officer)
    made = officer.post("/officer/policy/propose", note="<img src=x onerror=alert(1)>", **{**texts, "policy.cedar": texts["policy.cedar"] + FORBID})
    assert made.status == 303, words_on(made.text)
    page = officer.get(made.headers["location"]).text
    assert "<img" not in page and "<b onclick" not in page and "&lt;img" in page
    assert officer.post(made.headers["location"] + "/reject").status == 303


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("policy.cedar", "permit(banana", "policy.cedar"),
        (
            "policy.cedar",
            '@id("a") @reason("b") permit (principal, action, resource) when { context.purpose == Purpose::"advertising" };',
            "policy.cedar",
        ),
        ("policy.cedar", "(" * 5_000, "policy.cedar"),
        ("policy.cedar", "", "policy"),
        ("policy.cedar", "\x00", "policy.cedar"),
        ("particulars.toml", "name = 1", "particulars.toml"),
        ("particulars.toml", "[" * 5_000, "particulars.toml"),
    ],
)
def test_a_policy_that_does_not_load_is_refused_with_file_and_mend_and_changes_nothing(place: Place, name: str, text: str, said: str) -> None:
    before = texts_of(place.officer)
    answer = place.officer.post("/officer/policy/propose", note="broken", **{**before, name: text})
    if text == "":
        # An empty policy is well formed: it allows nothing. It may be proposed, and changes nothing by that.
        assert answer.status == 303
        assert place.officer.post(answer.headers["location"] + "/reject").status == 303
    else:
        assert answer.status == 422
        assert said in words_on(answer.text)
    assert texts_of(place.officer) == before


def test_nobody_approves_what_she_proposed_and_nobody_but_an_officer_approves(place: Place) -> None:
    texts = texts_of(place.officer)
    made = place.officer.post("/officer/policy/propose", note="mine", **{**texts, "policy.cedar": texts["policy.cedar"] + FORBID})
    path = made.headers["location"]
    own = place.officer.post(path + "/approve")
    assert (own.status, "four_eyes" in own.text) == (409, True)
    for role in (Role.AUDITOR, Role.OPERATOR):
        assert place.people[role].post(path + "/approve").status == 403
    assert texts_of(place.officer) == texts
    assert place.officer.post(path + "/reject").status == 303
    late = signed_in(place.house, "Too late").post(path + "/approve")
    assert (late.status, "decided_already" in late.text) == (409, True)


def test_B30_ceremonies_are_not_begun_without_end(place: Place) -> None:
    crowd = Officer(place.house)
    statuses = [run(crowd._send("POST", "/officer/sign-in/options", b"{}", {})).status for _ in range(45)]
    assert 429 in statuses and statuses[0] in (200, 429)


def age(house: RunningHouse, name: str, minutes: int) -> None:
    turn_back(house, "signed_in_at", name, minutes)


def turn_back(house: RunningHouse, column: str, name: str, minutes: int) -> None:
    database = sqlite3.connect(house.data / "records.sqlite", timeout=10)
    change = f"UPDATE staff_sessions SET {column} = {column} - ? WHERE staff = (SELECT id FROM staff WHERE name = ?)"
    database.execute(change, (minutes * 60 * 1_000_000, name))
    database.commit()
    database.close()
