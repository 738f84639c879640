"""Writes accounts, rows and customers in the shapes of FDX 6: flat entities, absolute amounts beside debitCreditMemo."""

from datetime import datetime

from parley_sandbox.ledger import Account, Customer, Posting
from parley_sandbox.money import wire_number

Entity = dict[str, object]

_TYPES = {
    "checking": ("DEPOSIT_ACCOUNT", "CHECKING"),
    "savings": ("DEPOSIT_ACCOUNT", "SAVINGS"),
    "credit_card": ("LOC_ACCOUNT", "CREDITCARD"),
    "loan": ("LOAN_ACCOUNT", "AUTOLOAN"),
}


def account_entity(account: Account, clusters: frozenset[str], *, details: bool) -> Entity:
    """One account with what the consented clusters allow; balances only where details are asked for and BALANCES is agreed."""
    category, kind = _TYPES[account.kind]
    entity: Entity = {
        "accountCategory": category,
        "accountId": account.account_id,
        "accountType": kind,
        "status": account.status,
        "currency": {"currencyCode": account.currency},
        "balanceType": "LIABILITY" if account.owes else "ASSET",
    }
    if "ACCOUNT_BASIC" in clusters:
        names = {"accountNumberDisplay": account.number_display, "productName": account.product, "nickname": account.nickname}
        entity |= names
    if details and "BALANCES" in clusters:
        entity |= _balances(account)
    return entity


def _balances(account: Account) -> Entity:
    """Deposits say what is there and available; debts say what is owed, as a positive number."""
    currency = account.currency
    as_of = {"balanceAsOf": instant(account.as_of)}
    if account.kind == "credit_card":
        owed = wire_number(-account.booked, currency)
        line = {"creditLine": wire_number(account.credit_line, currency), "availableCredit": wire_number(account.available, currency)}
        return {**as_of, "currentBalance": owed, "principalBalance": owed, **line}
    if account.kind == "loan":
        owed = wire_number(-account.booked, currency)
        return {**as_of, "currentBalance": owed, "principalBalance": owed}
    available = wire_number(account.available, currency)
    return {**as_of, "currentBalance": wire_number(account.booked, currency), "availableBalance": available}


def transaction_entity(account: Account, row: Posting) -> Entity:
    """One row. `transactionTimestamp` is when it happened, `postedTimestamp` when it was booked (absent while pending)."""
    entity: Entity = {
        "accountId": account.account_id,
        "transactionId": row.transaction_id,
        "status": "PENDING" if row.pending else "POSTED",
        "transactionTimestamp": instant(row.occurred_at),
        "description": row.description,
        "debitCreditMemo": "DEBIT" if row.amount < 0 else "CREDIT",
        "amount": wire_number(abs(row.amount), account.currency),
        "transactionType": row.transaction_type,
    }
    if row.posted_at is not None:
        entity["postedTimestamp"] = instant(row.posted_at)
    if row.merchant_category:
        entity |= {"categoryCode": row.merchant_category, "categoryType": "MCC"}
    payee = {"merchantName": row.merchant, "individualName": row.individual}
    if any(payee.values()):
        entity["transactionPayee"] = {name: value for name, value in payee.items() if value}
    if row.foreign_currency:
        entity["foreignAmount"] = wire_number(row.foreign_amount, row.foreign_currency)
        entity["foreignCurrency"] = row.foreign_currency
    optional = {"memo": row.memo, "cardNumberDisplay": row.card, "referenceTransactionId": row.reference}
    return entity | {name: value for name, value in optional.items() if value}


def customer_entity(customer: Customer, clusters: frozenset[str]) -> Entity:
    """The customer: her lasting identifier, and her name where CUSTOMER_CONTACT is agreed. Address and telephone do not exist here."""
    entity: Entity = {"customerId": customer.customer_id}
    if "CUSTOMER_CONTACT" in clusters:
        first, _, last = customer.name.partition(" ")
        entity["name"] = {"first": first, "last": last}
    return entity


def instant(moment: datetime) -> str:
    """RFC 3339 in UTC with a Z."""
    return moment.isoformat().replace("+00:00", "Z")
