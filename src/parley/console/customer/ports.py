"""What the customer's page needs from the rooms beside it, each as small as it can be; the app supplies it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from typing import Protocol

from parley.console.passkeys import PasskeySite
from parley.model.customers import LedgerLine, PasskeyChallenge, SignIn, SignInMethod, Spent, StoredPasskey
from parley.model.grants import Grant
from parley.model.ledger import LinkedAccount


@dataclass(frozen=True, slots=True)
class CustomerSettings:
    """`public_origin` as browsers spell it. `zone`: the times' zone where no script shows the browser's own.

    `site`: to whom passkeys belong; None where the address that customers open cannot have any.
    """

    public_origin: str
    bank_title: str
    contact: str
    zone: tzinfo
    site: PasskeySite | None

    @property
    def secure(self) -> bool:
        return self.public_origin.startswith("https://")


class Visit(Protocol):
    """A browser's session before anybody has signed in; it carries the token that its forms show."""

    @property
    def csrf(self) -> str: ...
    @property
    def ambient(self) -> bool: ...


class Visitors(Protocol):
    async def find(self, headers: Mapping[str, str]) -> Visit | None: ...
    async def open(self, client: str) -> tuple[Visit, str] | None:
        """A new session and its Set-Cookie value; None when this address opened too many lately."""

    async def leave(self, headers: Mapping[str, str]) -> str:
        """This browser's session ends, and with it the chat in it: the Set-Cookie value that clears it."""


class SignInDesk(Protocol):
    """Who is signed in. Header names are lower case; what is returned as text are Set-Cookie values."""

    async def find(self, headers: Mapping[str, str]) -> SignIn | None: ...
    def is_fresh(self, sign_in: SignIn) -> bool:
        """Whether she proved who she is a few minutes ago at most."""

    async def arrived(self, customer: str, method: SignInMethod, headers: Mapping[str, str]) -> str: ...
    async def end(self, sign_in: SignIn) -> str: ...
    def clear(self) -> str: ...


class PasskeyRecords(Protocol):
    async def add_passkey(self, customer: str, passkey: StoredPasskey) -> None: ...
    async def find_passkey(self, credential_id: bytes) -> tuple[str, StoredPasskey] | None: ...
    async def passkeys_of(self, customer: str) -> tuple[StoredPasskey, ...]: ...
    async def passkey_used(self, customer: str, passkey: StoredPasskey, sign_count: int, now: datetime) -> bool:
        """False when it was used or removed since it was read; then the sign-in does not count."""

    async def remove_passkey(self, customer: str, hashed: bytes) -> bool: ...
    async def add_challenge(self, challenge: PasskeyChallenge) -> None: ...
    async def take_challenge(self, token_hash: bytes, now: datetime) -> PasskeyChallenge | None: ...


class PageRecords(PasskeyRecords, Protocol):
    """Every read is of one customer, whose sign-in was checked before."""

    async def grants_of(self, customer: str, *, active_only: bool, now: datetime) -> tuple[Grant, ...]: ...
    async def grant_history(self, grant_id: str) -> tuple[Grant, ...]: ...
    async def bank_accounts(self, customer: str) -> tuple[LinkedAccount, ...]: ...
    async def sign_ins_of(self, customer: str, now: datetime) -> tuple[SignIn, ...]: ...
    async def end_sign_in(self, token_hash: bytes, customer: str) -> bool: ...
    async def end_other_sign_ins(self, token_hash: bytes, customer: str) -> int: ...
    async def disclosures_of(self, customer: str, *, before: int | None = None, count: int = 5_000) -> tuple[LedgerLine, ...]: ...
    async def spent(self, grant_ids: Sequence[str], day: date) -> Mapping[str, Spent]: ...
    async def nicknames(self, customer: str) -> dict[str, str]: ...
    async def rename_account(self, customer: str, ref: str, name: str | None) -> bool: ...


class GrantKeeper(Protocol):
    """Changes to grants of one customer; `platform` None means all of them. Each returns how many were changed; none is no error.

    Raises LogUnavailable where the log could not be told: an end or a pause stands all the same, and the log is told later.
    """

    async def pause(self, customer: str, platform: str | None) -> int: ...
    async def resume(self, customer: str, platform: str | None) -> int: ...
    async def stop_platform(self, customer: str, platform: str | None) -> int: ...
    async def erase(self, customer: str) -> None:
        """Stop everything, delete her key and all that it opens, and record that it happened."""


@dataclass(frozen=True, slots=True)
class House:
    """The house behind the page.

    `receipt`: the text of her receipt for a log entry, None for every other entry. `consent_record`: the signed record (JSON) of one version
    of a grant. `titles`: what customers call the platforms; one that is missing goes by its registered name. `admits`: whether this client
    address may begin another ceremony now.
    """

    records: PageRecords
    sign_ins: SignInDesk
    visitors: Visitors
    keeper: GrantKeeper
    receipt: Callable[[str, int], Awaitable[str | None]]
    consent_record: Callable[[Grant], Awaitable[bytes]]
    titles: Callable[[], Awaitable[Mapping[str, str]]]
    log_vkey: str
    admits: Callable[[str], bool]
    clock: Callable[[], datetime]
    chance: Callable[[int], bytes]
    catch_up: Callable[[str], Awaitable[None]]
    """Write down what her ledger still lacks, so that the page shows the answer of a moment ago."""
