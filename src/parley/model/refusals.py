"""Why an answer was not given.

* Refusal                    the house says no, and says why in plain words; logged without identity
  + BadInput                 what came cannot be read (many codes, see BAD_INPUT)
  + ForgedMessage            the message did not come from the platform; gets no reply beyond a status
  + ReplayedMessage          the same message came twice
  + NotLinked                nobody at the bank stands behind this conversation
  + LinkExpired              the link or sign-in was not finished in time
  + LinkLost                 the bank no longer accepts our access: link again
  + PurposeUnknown           a purpose that is not on the closed list
  + PurposeForbidden         advertising, selling, profiling, training, under any name
  + PlatformUnknown          the bank's policy does not know this platform
  + NotConsented             the customer has not agreed to this
  + GrantExpired             she agreed, but not for so long
  + GrantRevoked             she took it back (also: while the answer was under way)
  + BudgetSpent              enough for today
  + NotAllowed               the bank's policy forbids it
  + StepUpNeeded             the bank's policy allows it to a customer who has just confirmed that it is she
  + DeliveryUnavailable      it may only leave sealed, and no device is registered
  + OfferingUnknown          no such thing is offered here
  + NoSuitableAccount        none of the granted accounts can answer it
  + SwitchedOff              the bank has stopped everything, this platform or this purpose
* NotUnderstood              the words fit nothing that is offered; no data was read
  + StopAsked                the customer typed that she wants to stop sharing
* Fault                      something broke; the customer may ask again
  + BankUnavailable / BankTimeout / BankBusy / BankNonsense / BankUncertain
  + LogUnavailable           no receipt, no release
  + PolicyDisputed           the two engines that read the bank's policy disagree: nothing is released under it
  + RecordsUnavailable
  + GuardUnavailable         whether anything may leave cannot be told
  + PolicyChanged            the bank's rules changed while the answer was under way
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Basis(StrEnum):
    """On what a refusal rests."""

    LAW = "law"
    RISK = "risk"
    BANK_POLICY = "bank_policy"
    CUSTOMER_CHOICE = "customer_choice"
    INPUT = "input"


class Refusal(Exception):
    """`code` stable, `basis`, `plain_words` for the customer; `detail` for operators only, and never a value, token or text of a customer."""

    code = "refused"
    basis = Basis.INPUT
    plain_words = "I can't answer that."

    def __init__(self, detail: str = "", *, plain_words: str | None = None, rule: str | None = None) -> None:
        self.args = (detail or self.code,)  # What super().__init__ would do, at half the cost: refusals are made on the hot path.
        self.detail = detail
        self.rule = rule
        if plain_words is not None:
            self.plain_words = plain_words


BAD_INPUT: Mapping[str, str] = MappingProxyType(
    {
        "body_too_large": "That message is too long for me.",
        "body_not_json": "I couldn't read that request.",
        "body_too_deep": "I couldn't read that request.",
        "body_wrong_shape": "I couldn't read that request: a field is missing, unknown or of the wrong kind.",
        "content_type_wrong": "I only read JSON here.",
        "text_empty": "Type a question, for example: what's my balance?",
        "text_too_long": "That question is too long for me. Please use at most 500 characters.",
        "form_stale": "That page was open for too long or was used already. Please start again.",
        "origin_wrong": "That request came from another site, so I didn't act on it.",
        "session_unknown": "I don't know this conversation any more. Please reload the page.",
        "receipt_unknown": "There is no such receipt in this conversation.",
        "choice_missing": "Please choose at least one account and one thing that may be answered.",
    }
)
"""Codes of unreadable input and the words that go with each."""


class BadInput(Refusal):
    """Input that cannot be read. `code` is one of BAD_INPUT."""

    def __init__(self, code: str, detail: str = "") -> None:
        self.code = code
        super().__init__(detail, plain_words=BAD_INPUT[code])


class ForgedMessage(Refusal):
    code = "forged_message"
    basis = Basis.RISK
    plain_words = "That request could not be verified."


class ReplayedMessage(Refusal):
    code = "replayed_message"
    basis = Basis.RISK
    plain_words = "I have already answered that message."


class NotLinked(Refusal):
    code = "not_linked"
    basis = Basis.CUSTOMER_CHOICE
    plain_words = "Please link your bank account first."
    wish: str | None = None
    """The offering that was asked for, so that the consent page can mark what it needs."""


class LinkExpired(Refusal):
    code = "link_expired"
    basis = Basis.RISK
    plain_words = "That link has expired or was used already. Please start linking again."


class LinkLost(Refusal):
    code = "link_lost"
    basis = Basis.CUSTOMER_CHOICE
    plain_words = "Your bank no longer lets me read this account. Please link it again."


class PurposeUnknown(Refusal):
    code = "purpose_unknown"
    basis = Basis.BANK_POLICY
    plain_words = "I only share data for purposes on a closed list, and that isn't one of them."


class PurposeForbidden(Refusal):
    code = "purpose_forbidden"
    basis = Basis.LAW
    plain_words = "Bank data is never shared for advertising, selling, profiling or training. Nobody can allow that here."


class PlatformUnknown(Refusal):
    code = "platform_unknown"
    basis = Basis.BANK_POLICY
    plain_words = "Your bank doesn't work with this platform."


class NotConsented(Refusal):
    code = "not_consented"
    basis = Basis.CUSTOMER_CHOICE
    plain_words = "You haven't allowed me to share that here."


class GrantExpired(Refusal):
    code = "grant_expired"
    basis = Basis.CUSTOMER_CHOICE
    plain_words = "Your permission has run out. Please link again if you want to go on."


class GrantRevoked(Refusal):
    code = "grant_revoked"
    basis = Basis.CUSTOMER_CHOICE
    plain_words = "You have stopped sharing here, so I can't answer that."


class GrantPaused(Refusal):
    code = "grant_paused"
    basis = Basis.CUSTOMER_CHOICE
    plain_words = "You have paused sharing here. Resume it on your consents page when you want to go on."


class BudgetSpent(Refusal):
    code = "budget_spent"
    basis = Basis.CUSTOMER_CHOICE
    plain_words = "That's as much as you allowed for one day. Please ask again tomorrow."


class NotAllowed(Refusal):
    code = "not_allowed"
    basis = Basis.BANK_POLICY
    plain_words = "Your bank doesn't share that in this chat."


class StepUpNeeded(Refusal):
    code = "step_up_needed"
    basis = Basis.BANK_POLICY
    plain_words = "Your bank only shares that right after you have confirmed that it's you, and this chat has no way to do that."


class DeliveryUnavailable(Refusal):
    code = "delivery_unavailable"
    basis = Basis.BANK_POLICY
    plain_words = "Your bank only sends this sealed to your own device, and this chat has none registered."


class OfferingUnknown(Refusal):
    code = "offering_unknown"
    plain_words = "That isn't something I can answer."


class NoSuitableAccount(Refusal):
    code = "no_suitable_account"
    basis = Basis.CUSTOMER_CHOICE
    plain_words = "None of the accounts that you chose can answer that."


class SwitchedOff(Refusal):
    code = "switched_off"
    basis = Basis.RISK
    plain_words = "Your bank has paused answers here for now, so nothing was shared. Please try again later."


class NotUnderstood(Exception):
    """The words fit nothing that is offered. Nothing was read and nothing is logged: there was no request for data."""

    code = "not_understood"
    plain_words = "I can't do that. Here is what I can do:"


class StopAsked(NotUnderstood):
    """Not a question: the customer wants to stop sharing. Needs no grant and no policy."""

    code = "stop"
    plain_words = "Stop sharing."


class Fault(Exception):
    """Something broke. Nothing left; asking again is safe. `detail` for operators only."""

    code = "fault"
    plain_words = "Something went wrong on our side. Nothing was shared. Please ask again in a moment."

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.code)
        self.detail = detail


class BankUnavailable(Fault):
    code = "bank_unavailable"
    plain_words = "Your bank isn't answering right now. Please ask again in a moment."


class BankTimeout(BankUnavailable):
    code = "bank_timeout"


class BankBusy(BankUnavailable):
    code = "bank_busy"
    plain_words = "Your bank is busy right now. Please ask again in a minute."


class BankNonsense(BankUnavailable):
    code = "bank_nonsense"
    plain_words = "Your bank sent something that I can't rely on, so I'd rather not answer."


class BankUncertain(BankUnavailable):
    """An amount, sign, currency or owner would be uncertain."""

    code = "bank_uncertain"
    plain_words = "Your bank's answer was not certain enough to show you a number, so I'd rather not answer."


class LogUnavailable(Fault):
    code = "log_unavailable"
    plain_words = "I can't record the answer right now, and without a record nothing leaves. Please ask again in a moment."


class PolicyDisputed(Fault):
    code = "policy_disputed"
    plain_words = "Your bank's rules are being checked, so I can't answer right now. Nothing was shared."


class RecordsUnavailable(Fault):
    code = "records_unavailable"


class GuardUnavailable(Fault):
    code = "guard_unavailable"
    plain_words = "I can't check right now whether your bank has paused answers, so I'd rather not answer. Please ask again in a moment."


class PolicyChanged(Fault):
    code = "policy_changed"
    plain_words = "Your bank's rules have just changed. Nothing was shared. Please ask again in a moment."
