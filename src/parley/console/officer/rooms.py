"""What each page shows and each button does, for somebody whom the entrance let in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date, datetime
from hashlib import sha256

from starlette.responses import RedirectResponse, Response

from parley.console.officer.charts import Chart, over_time
from parley.console.officer.desks import Desks
from parley.console.officer.render import Pages
from parley.console.officer.requests import POLICY_BYTES_MAX
from parley.console.officer.roles import NothingThere, NotYourRole
from parley.console.officer.tallies import Left, Refused, by, day_of
from parley.console.officer.visits import Visit
from parley.model.refusals import LogUnavailable
from parley.model.staff import ProposalState
from parley.model.words import Projection
from parley.policy import Policy
from parley.policy.difference import Change, Difference

CHANGES_SHOWN = 200
NOTE_CHARACTERS_MAX = 500
REASON_CHARACTERS_MAX = 200


class Rooms:
    """One method for each door."""

    def __init__(self, desks: Desks, pages: Pages, clock: Callable[[], datetime]) -> None:
        self._desks = desks
        self._pages = pages
        self._clock = clock

    # Counts.

    async def overview(self, visit: Visit) -> Response:
        read = await self._count()
        tallies, policy = self._desks.tallies, self._policy
        waiting = [each for each in await self._desks.records.proposals() if each.state is ProposalState.OPEN] if visit.may("see_policy") else []
        return self._pages.page(
            "overview.html",
            visit=visit,
            policy=policy,
            pulled=await self._desks.switches.pulled(),
            names=await self._names(),
            waiting=waiting,
            releases=self._chart("Releases by platform", tallies.left, "platform"),
            refusals=self._chart("Refusals by ground", tallies.refused, "basis"),
            counted=tallies,
            counted_now=read,
        )

    async def refusals(self, visit: Visit) -> Response:
        read = await self._count()
        refused = self._desks.tallies.refused
        grounds = Counter[tuple[str, str]]()
        for cell, count in refused.items():
            grounds[cell.basis, cell.code] += count
        return self._pages.page(
            "refusals.html",
            visit=visit,
            charts=[self._chart("Refusals by ground", refused, "basis"), self._chart("Refusals by code", refused, "code")],
            grounds=grounds.most_common(),
            platforms=by(refused, "platform"),
            rules=[(self._rule_named(digest), count) for digest, count in by(refused, "rule").items() if digest != "none"],
            counted=self._desks.tallies,
            counted_now=read,
        )

    async def releases(self, visit: Visit) -> Response:
        read = await self._count()
        left = self._desks.tallies.left
        return self._pages.page(
            "releases.html",
            visit=visit,
            charts=[self._chart(f"Releases by {name}", left, name) for name in ("platform", "purpose", "projection")],
            totals=[(name, by(left, name)) for name in ("platform", "purpose", "projection")],
            words={each.value: each.plain_words for each in Projection},
            counted=self._desks.tallies,
            counted_now=read,
        )

    # Switches.

    async def switches(self, visit: Visit) -> Response:
        pulled = {each.name: each for each in await self._desks.switches.pulled()}
        known = self._desks.switches.names()
        gone = tuple(name for name in pulled if name not in known)
        titles = {platform.id: platform.name for platform in self._policy.platforms.values()}
        return self._pages.page("switches.html", visit=visit, known=(*known, *gone), pulled=pulled, titles=titles, names=await self._names())

    async def pull(self, visit: Visit) -> Response:
        await self._desks.switches.pull(visit.staff, visit.switch(), visit.text("reason", REASON_CHARACTERS_MAX))
        return to("/officer/switches")

    async def ask_undo(self, visit: Visit) -> Response:
        await self._desks.switches.ask_undo(visit.staff, visit.switch())
        return to("/officer/switches")

    async def keep_off(self, visit: Visit) -> Response:
        await self._desks.switches.keep_off(visit.staff, visit.switch())
        return to("/officer/switches")

    async def undo(self, visit: Visit) -> Response:
        await self._desks.switches.undo(visit.staff, visit.switch())
        return to("/officer/switches")

    # Policies.

    async def policy(self, visit: Visit) -> Response:
        await self._desks.policy.caught_up()
        records = self._desks.records
        return self._pages.page(
            "policy.html",
            visit=visit,
            policy=self._policy,
            version=self._desks.policies.version,
            versions=await records.policy_versions(),
            proposals=await records.proposals(),
            names=await self._names(),
            texts=texts_of(self._policy.sources),
        )

    async def version(self, visit: Visit) -> Response:
        wanted = str(visit.place["version"])
        found = next((each for each in await self._desks.records.policy_versions() if str(each.version) == wanted), None)
        if found is None:
            raise NothingThere()
        return self._pages.page("version.html", visit=visit, found=found, texts=texts_of(found.sources))

    async def propose_form(self, visit: Visit) -> Response:
        await self._desks.policy.caught_up()
        return self._pages.page("propose.html", visit=visit, texts=texts_of(self._policy.sources), megabytes=POLICY_BYTES_MAX // 1024 // 1024)

    async def propose(self, visit: Visit) -> Response:
        await self._desks.policy.caught_up()
        # A form's lines end as no file's do; without this the same words would be another policy.
        sources = {name: visit.form.get(name, "").replace("\r\n", "\n").encode() for name in self._policy.sources}
        made = await self._desks.policy.propose(visit.staff, sources, visit.text("note", NOTE_CHARACTERS_MAX))
        return to(f"/officer/policy/proposals/{made.id}")

    async def proposal(self, visit: Visit) -> Response:
        await self._desks.policy.caught_up()
        review = await self._desks.policy.review(visit.place["proposal"])
        changes = sorted(review.change.changes, key=importance)
        return self._pages.page(
            "proposal.html",
            visit=visit,
            proposal=review.proposal,
            policy=review.policy,
            change=review.change,
            touched=review.touched,
            kinds=counts_of(review.change),
            shown=changes[:CHANGES_SHOWN],
            names=await self._names(),
            moved=review.proposal.base != review.change.old and review.proposal.state is ProposalState.OPEN,
            texts=texts_of(review.proposal.sources),
        )

    async def approve(self, visit: Visit) -> Response:
        await self._desks.policy.caught_up()
        await self._desks.policy.approve(visit.staff, visit.place["proposal"])
        return to("/officer/policy")

    async def reject(self, visit: Visit) -> Response:
        await self._desks.policy.reject(visit.staff, visit.place["proposal"])
        return to("/officer/policy")

    # People.

    async def people(self, visit: Visit) -> Response:
        records = self._desks.records
        return self._pages.page("people.html", visit=visit, staff=await records.all_staff(), acts=await records.acts(), names=await self._names())

    async def sign_ins(self, visit: Visit) -> Response:
        sessions = await self._desks.signing.sessions()
        mine = visit.may("decide")
        return self._pages.page("sign_ins.html", visit=visit, sessions=[each for each in sessions if mine or each.staff.id == visit.staff.id])

    async def end_sign_in(self, visit: Visit) -> Response:
        wanted = visit.text("session", 32)
        session = next((each for each in await self._desks.signing.sessions() if each.id == wanted), None)
        if session is None:
            raise NothingThere()
        if session.staff.id != visit.staff.id and not visit.may("decide"):
            raise NotYourRole()
        await self._desks.signing.end(visit.staff, session.id)
        return to("/officer/sign-ins")

    async def sign_out(self, visit: Visit) -> Response:
        await self._desks.signing.end(visit.staff, visit.session.id)
        response = to("/officer/sign-in")
        response.headers.append("set-cookie", visit.end_cookie)
        return response

    # What several pages share.

    @property
    def _policy(self) -> Policy:
        return self._desks.policies.current()

    async def _count(self) -> bool:
        """Read on in the log. False where the log cannot be reached: the page then shows what was counted before, and says so."""
        with suppress(LogUnavailable):
            await self._desks.tallies.follow()
            return True
        return False

    async def _names(self) -> dict[str, str]:
        """Staff by id. Whoever has left is named by her id alone."""
        return {each.id: each.name for each in await self._desks.records.all_staff()}

    def _chart(self, title: str, counted: Counter[Left] | Counter[Refused], name: str) -> Chart:
        counts: Counter[tuple[date, str]] = Counter()
        for cell, count in counted.items():
            counts[day_of(cell.day), str(getattr(cell, name)) or "none"] += count
        return over_time(title, counts, self._clock().date())

    def _rule_named(self, digest: str) -> str:
        """The rule's id where a policy in force has one of that digest; the log holds only the digest."""
        for rule in self._policy.rules:
            if sha256(rule.encode()).hexdigest()[:16] == digest:
                return rule
        return digest


def to(path: str) -> Response:
    return RedirectResponse(path, status_code=303)


def texts_of(sources: Mapping[str, bytes]) -> dict[str, str]:
    return {name: sources[name].decode(errors="replace") for name in sorted(sources)}


def counts_of(change: Difference) -> dict[str, int]:
    return {kind.value: change.counts[kind] for kind in sorted(change.counts, key=lambda kind: kind.value)}


def importance(change: Change) -> tuple[int, tuple[str, ...]]:
    """What is newly allowed comes first: that is what nobody may overlook."""
    order = ("newly_allowed", "newly_refused", "other_terms", "other_reason")
    return order.index(change.kind.value), tuple(map(str, change.case))
