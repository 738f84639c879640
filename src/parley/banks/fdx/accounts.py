"""Accounts and their balances: FDX's entities into the canonical model."""

from __future__ import annotations

import re
from datetime import datetime

from parley.banks.fdx.amounts import is_missing, is_text, read_money
from parley.banks.fdx.dates import BadDate, read_moment
from parley.banks.fdx.wire import AccountHead, Currency, ListedAccount
from parley.model.ledger import AccountKind, AccountStatus, Balance, LinkedAccount, Quality
from parley.model.money import Money, UncertainMoney
from parley.model.refusals import BankNonsense, BankUncertain
from parley.model.strangers import clean_name
from parley.model.words import Field

_DEBTS = frozenset({"LOC_ACCOUNT", "LOAN_ACCOUNT", "BNPL_ACCOUNT"})
_SAVINGS = frozenset({"SAVINGS", "CD", "MONEYMARKET"})
_CARDS = frozenset({"CREDITCARD", "CHARGE"})
_CATEGORY_OF_KIND = {
    AccountKind.CHECKING: "DEPOSIT_ACCOUNT",
    AccountKind.SAVINGS: "DEPOSIT_ACCOUNT",
    AccountKind.CREDIT_CARD: "LOC_ACCOUNT",
    AccountKind.LOAN: "LOAN_ACCOUNT",
    AccountKind.INVESTMENT: "INVESTMENT_ACCOUNT",
}
_KIND_OF_CATEGORY = {
    "DEPOSIT_ACCOUNT": AccountKind.CHECKING,
    "LOC_ACCOUNT": AccountKind.LOAN,
    "LOAN_ACCOUNT": AccountKind.LOAN,
    "BNPL_ACCOUNT": AccountKind.LOAN,
    "INVESTMENT_ACCOUNT": AccountKind.INVESTMENT,
    "ANNUITY_ACCOUNT": AccountKind.INVESTMENT,
}
_STATUS = {
    "OPEN": AccountStatus.OPEN,
    "DELINQUENT": AccountStatus.OPEN,
    "NEGATIVECURRENTBALANCE": AccountStatus.OPEN,
    "CLOSED": AccountStatus.CLOSED,
    "PAID": AccountStatus.CLOSED,
    "RESTRICTED": AccountStatus.RESTRICTED,
    "PENDINGOPEN": AccountStatus.RESTRICTED,
    "PENDINGCLOSE": AccountStatus.RESTRICTED,
}
_NAMES = {
    AccountKind.CHECKING: "Checking",
    AccountKind.SAVINGS: "Savings",
    AccountKind.CREDIT_CARD: "Credit card",
    AccountKind.LOAN: "Loan",
    AccountKind.INVESTMENT: "Investment",
    AccountKind.OTHER: "Account",
}
_BOOKED = ("currentBalance", "principalBalance", "currentValue")
_AVAILABLE = {"LOC_ACCOUNT": ("availableCredit",), "DEPOSIT_ACCOUNT": ("availableBalance",), "INVESTMENT_ACCOUNT": ("availableCashBalance",)}
_CURRENCY_CODE = re.compile(r"[A-Z]{3}")


def linked_account(bank: str, listed: ListedAccount, currency_default: str | None) -> LinkedAccount:
    """An account for the consent page. Its currency is empty where nobody names one; its balance is then asked for in vain. Raises BankNonsense."""
    kind = kind_of(listed)
    digits = re.sub(r"[^0-9]", "", listed.accountNumberDisplay or "")
    return LinkedAccount(
        ref="",
        bank=bank,
        native_id=native_id(listed.accountId),
        kind=kind,
        name=name_of(listed.nickname, listed.productName, kind),
        mask=digits[-4:],
        currency=told_currency(listed.currency) or currency_default or "",
        status=_STATUS.get(listed.status or "", AccountStatus.UNKNOWN),
    )


def native_id(account_id: str | int | None) -> str:
    """The bank's own id. Raises BankNonsense for one that could not stand in an address: `..` would ask for something else."""
    text = "" if account_id is None else str(account_id)
    if not re.fullmatch(r"[!-~]{1,256}", text) or text in (".", ".."):
        raise BankNonsense("an account without a usable id")
    return text


def kind_of(listed: ListedAccount) -> AccountKind:
    kind = listed.accountType or ""
    if listed.accountCategory in (None, "DEPOSIT_ACCOUNT") and kind in _SAVINGS:
        return AccountKind.SAVINGS
    if listed.accountCategory in (None, "DEPOSIT_ACCOUNT") and kind == "CHECKING":
        return AccountKind.CHECKING
    if listed.accountCategory in (None, "LOC_ACCOUNT") and kind in _CARDS:
        return AccountKind.CREDIT_CARD
    return _KIND_OF_CATEGORY.get(listed.accountCategory or "", AccountKind.OTHER)


def name_of(nickname: str | None, product: str | None, kind: AccountKind) -> str:
    return clean_name(nickname or "") or clean_name(product or "") or _NAMES[kind]


def told_currency(currency: Currency | None) -> str | None:
    """The currency that the bank names. Raises BankUncertain for a name that cannot be a currency's."""
    code = None if currency is None else currency.currencyCode
    if not code:
        return None
    if not _CURRENCY_CODE.fullmatch(code):
        raise BankUncertain("a currency that is none")
    return code


def balance(account: LinkedAccount, told: AccountHead, fields: frozenset[Field]) -> Balance:
    """The ordered figures, as the customer sees them. Raises BankUncertain where owner, currency, sign or figure cannot be relied on."""
    if told.accountId is None or str(told.accountId) != account.native_id:
        raise BankUncertain("another account than the one that was asked for")
    category = told.accountCategory or _CATEGORY_OF_KIND.get(account.kind, "")
    if told.balanceType is not None and category in _CATEGORY_OF_KIND.values() and (told.balanceType == "LIABILITY") != (category in _DEBTS):
        raise BankUncertain("asset or debt: the account contradicts itself")
    quality: set[Quality] = set()
    currency = _currency(account, told, quality)
    booked = available = None
    if Field.BALANCE_BOOKED in fields:
        booked = _figure(told, _BOOKED, currency, quality)
        booked = -booked if booked is not None and category in _DEBTS else booked
    if Field.BALANCE_AVAILABLE in fields:
        available = _figure(told, _AVAILABLE.get(category, ()), currency, quality)
    named = Field.ACCOUNT_NAME in fields
    name = name_of(getattr(told, "nickname", None), getattr(told, "productName", None), account.kind) if named else None
    return Balance(account.ref, name, booked, available, _as_of(told, quality), frozenset(quality))


def _currency(account: LinkedAccount, told: AccountHead, quality: set[Quality]) -> str:
    code = told_currency(told.currency)
    if code is None:
        quality.add(Quality.CURRENCY_FROM_ACCOUNT)
    if account.currency and code and code != account.currency:
        raise BankUncertain("another currency than the account was linked with")
    if not (code or account.currency):
        raise BankUncertain("nobody names a currency")
    return code or account.currency


def _figure(told: AccountHead, names: tuple[str, ...], currency: str, quality: set[Quality]) -> Money | None:
    """The first of the figures that is there."""
    for name in names:
        raw = getattr(told, name)
        if is_missing(raw):
            continue
        if is_text(raw):
            quality.add(Quality.AMOUNT_WAS_TEXT)
        try:
            return read_money(raw, currency)
        except UncertainMoney as reason:
            raise BankUncertain(f"balance: {reason}") from None
    return None


def _as_of(told: AccountHead, quality: set[Quality]) -> datetime | None:
    """How old the figure is; one that cannot be read is as good as none, for the figure itself stays certain."""
    text = getattr(told, "balanceAsOf", None)
    if not text:
        return None
    try:
        moment, noticed = read_moment(text)
    except BadDate:
        return None
    quality |= noticed
    return moment
