"""The web chat's desk: questions go down the road, the rest to grants and receipts."""

from __future__ import annotations

from collections.abc import Iterable

from parley.app.diagnostics import diagnostics
from parley.app.receipts import receipt_of
from parley.authorization.grants import GrantDesk
from parley.channels.web import LinkState, Notice, Reply, Why
from parley.channels.web.reply import reply_to_failure
from parley.consent import ends_at, reminder_due
from parley.log.client import NotaryClient
from parley.model.extensions import Channel, Offering
from parley.model.plain_words import PURPOSE_WORDS
from parley.model.refusals import Fault, Refusal, StopAsked
from parley.model.stages import Envelope
from parley.model.stages import Release as FinishedRelease
from parley.proof import format_receipt
from parley.release.pipeline import House, Released, release
from parley.settings import Settings
from parley.store import Records

REMINDED_MAX = 10_000


class WebDesk:
    """Implements the web chat's ChatDesk: questions go down the road, the rest to grants and receipts."""

    def __init__(self, house: House, records: Records, notary: NotaryClient, grants: GrantDesk, settings: Settings) -> None:
        self._house = house
        self._records = records
        self._notary = notary
        self._grants = grants
        self._platform_name = settings.platform_name
        self._reminded: set[tuple[str, int]] = set()

    async def answer(self, envelope: Envelope, channel: Channel) -> Reply:
        outcome = await release(envelope, channel, self._house)
        if isinstance(outcome, Released):
            return self._reply(outcome, await self.notice(outcome))
        if isinstance(outcome.reason, StopAsked) and outcome.question is not None:
            return await self.stop(outcome.question.conversation)
        if isinstance(outcome.reason, Fault):
            diagnostics.warning("fault", code=outcome.reason.code, detail=outcome.reason.detail)
        reply = reply_to_failure(outcome.reason, self.examples)
        wish = getattr(outcome.reason, "wish", None)
        return Reply(reply.outcome, reply.code, reply.text, suggestions=reply.suggestions, wish=wish, ms=outcome.laps)

    async def stop(self, conversation: str) -> Reply:
        customer = await self._records.customer_of("web", conversation)
        ended = await self._grants.stop(customer, "web") if customer is not None else 0
        text = "I have stopped sharing here. Nothing more leaves until you link again." if ended else "Nothing is shared here."
        return Reply("answered", "stopped", text)

    async def receipt(self, conversation: str, index: int) -> str | None:
        customer = await self._records.customer_of("web", conversation)
        return None if customer is None else await receipt_of(self._records, self._notary, customer, index)

    async def state(self, conversation: str) -> LinkState:
        customer = await self._records.customer_of("web", conversation)
        if customer is None:
            return LinkState(False)
        grants = await self._records.grants_of(customer, active_only=True, now=self._house.clock())
        ends = [grant.expires_at for grant in grants if grant.channel == "web"]
        return LinkState(bool(ends), max(ends, default=None))

    @property
    def examples(self) -> tuple[str, ...]:
        return examples_of(self._house.offerings.values())

    async def notice(self, outcome: Released) -> Notice | None:
        """Once for each grant: that it ends soon. An answer never waits for a record that cannot be made; then it is said another time."""
        grant = outcome.release.ruling.permission.grant
        now = self._house.clock()
        if (grant.id, grant.version) in self._reminded or not reminder_due(grant, now):
            return None
        if len(self._reminded) >= REMINDED_MAX:
            self._reminded.clear()  # The records still know whom they reminded; forgetting costs a look there.
        self._reminded.add((grant.id, grant.version))
        try:
            first = await self._records.remind_once(grant.customer, grant.id, grant.version, now)
        except (Fault, Refusal):
            return None
        if not first:
            return None
        end = ends_at(grant)
        return Notice(f"Your permission for this chat ends on {end.day} {end:%B %Y}.", "Extend it", f"/consent/extend/{grant.id}")

    def _reply(self, outcome: Released, notice: Notice | None) -> Reply:
        finished: FinishedRelease = outcome.release
        request = finished.ruling.permission.request
        index = finished.inclusion.index
        count = len(finished.ruling.permission.accounts)
        why = Why(
            purpose=PURPOSE_WORDS[request.purpose],
            what_left=f"{request.projection.plain_words}; from {count} account{'s' if count != 1 else ''} that you chose",
            policy=finished.ruling.policy_digest,
            platform=self._platform_name,
            channel=request.channel,
            log_index=index,
            recorded_at=finished.sealed.disclosure.fetched_at,
            receipt=format_receipt(finished.sealed.entry, finished.sealed.salt, finished.sealed.private, finished.inclusion),
            receipt_url=f"/chat/receipts/{index}",
        )
        answer = finished.answer
        return Reply("answered", "answered", answer.text, answer.lines, answer.heading, why=why, notice=notice, ms=outcome.laps)


def examples_of(offerings: Iterable[Offering]) -> tuple[str, ...]:
    return tuple(each.examples[0] for each in offerings)
