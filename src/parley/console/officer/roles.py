"""Who may do what here: one table, which the doors ask and a test walks through. No right lets anybody see a customer or a value."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from parley.model.refusals import Basis, Refusal
from parley.model.staff import Role


class Right(StrEnum):
    SEE_COUNTS = "see_counts"
    """Refusals by their ground, releases by platform, purpose and projection, which switches are off, one's own sign-ins."""
    SEE_POLICY = "see_policy"
    """Policies in force and proposed, with their proofs; who works here and what they did."""
    DECIDE = "decide"
    """Propose, approve and reject policies; ask for a switch to be undone, agree, and refuse; end anybody's sign-in."""
    PULL = "pull"
    """Pull a switch."""


RIGHTS: Mapping[Role, frozenset[Right]] = MappingProxyType(
    {
        Role.OFFICER: frozenset(Right),
        Role.AUDITOR: frozenset({Right.SEE_COUNTS, Right.SEE_POLICY}),
        Role.OPERATOR: frozenset({Right.SEE_COUNTS, Right.PULL}),
    }
)


class ConsoleRefusal(Refusal):
    """The console's own no's, read by the bank's people and never by a customer. `status` is the HTTP status of its page."""

    basis = Basis.RISK
    status = 403


class SignedOut(ConsoleRefusal):
    code = "signed_out"
    status = 401
    plain_words = "Please sign in with your passkey."


class NotYourRole(ConsoleRefusal):
    code = "not_your_role"
    plain_words = "Your role may not do that."


class SignInTooOld(ConsoleRefusal):
    code = "sign_in_too_old"
    plain_words = "This decision needs a fresh sign-in. Sign in again, then decide. Nothing was changed."


class FourEyes(ConsoleRefusal):
    code = "four_eyes"
    status = 409
    plain_words = "You cannot agree to what you asked for yourself. Another officer has to. Nothing was changed."


class DecidedAlready(ConsoleRefusal):
    code = "decided_already"
    status = 409
    plain_words = "Somebody else has decided this already, or is deciding it at this moment. Nothing was changed by you."


class BaseMoved(ConsoleRefusal):
    code = "base_moved"
    status = 409
    plain_words = "Another policy took effect since this was proposed, so what would change is no longer what was shown. Propose it again."


class PolicyUnfit(ConsoleRefusal):
    """`plain_words` are the loader's own: file, rule and mend."""

    code = "policy_unfit"
    status = 422


class NothingThere(ConsoleRefusal):
    code = "nothing_there"
    status = 404
    plain_words = "There is nothing here, or no longer."


class InvitationSpent(ConsoleRefusal):
    code = "invitation_spent"
    status = 410
    plain_words = "That link has expired or was used already. Ask whoever sent it for a new one."


class TooMuch(ConsoleRefusal):
    code = "too_many"
    status = 429
    plain_words = "That was a lot in a short time. Please wait a minute and try again."


class TooManyWait(ConsoleRefusal):
    code = "too_many_wait"
    status = 409
    plain_words = "Too many proposals wait for a decision. Decide some of them first."
