"""Keeps the books: adds the transfers that depend on balances, gives rows identifiers and posting times, and sets opening balances."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

from parley_sandbox.calendar_days import months, on
from parley_sandbox.chance import identifier, stream
from parley_sandbox.ledger import Account, Customer, Posting
from parley_sandbox.life import RESTRICTED_DAYS_AGO, Draft, Life, live
from parley_sandbox.people import CAST, Holding, Person

PASSWORD_WORDS = ("copper", "lantern", "willow", "harbor", "velvet", "marble", "saffron", "juniper", "cobalt", "meadow", "ember", "thistle")
FLOOR = 12000
CARD_CLOSING_DAY, CARD_PAYMENT_DAY, SWEEP_DAY = 23, 17, 26
TWINS_KEPT = 2
MORNING = time(1, 0, tzinfo=UTC)


def keep_books(person: Person, seed: int, today: date) -> Customer:
    """The customer with every account and row, a pure function of its arguments."""
    life = Life(person, seed, today)
    drafts = live(life)
    drafts += card_payments(life, drafts)
    drafts += loan_payments(life)
    drafts += bill_funding(life)
    drafts += sweeps(life, drafts)
    accounts = tuple(_account(life, holding, [d for d in drafts if d.account == holding.key]) for holding in person.holdings)
    customer_id = identifier("customer", seed, person.username)
    return Customer(customer_id, person.username, password(seed, person.username), person.name, person.portrait, accounts)


def find_person(username: str) -> Person | None:
    """The member of the cast with that user name, or None."""
    return next((person for person in CAST if person.username == username), None)


def password(seed: int, username: str) -> str:
    """The demo password, such as `copper-lantern-42`: public, printed on the bank's home page."""
    chance = stream("password", seed, username)
    first, second = chance.sample(PASSWORD_WORDS, 2)
    return f"{first}-{second}-{chance.randrange(10, 100)}"


def card_payments(life: Life, drafts: list[Draft]) -> list[Draft]:
    """The card pays itself off monthly: what was owed when the statement closed moves from checking to the card."""
    if not life.holds("card"):
        return []
    owed = -_opening_guess(life, "card")
    rows = sorted((d for d in drafts if d.account == "card"), key=_posting_day)
    payments: list[Draft] = []
    paid = 0
    for month in months(life.start, life.today):
        closing = on(month - timedelta(days=1), CARD_CLOSING_DAY)
        due = owed - sum(row.amount for row in rows if _posting_day(row) <= closing) - paid
        if due > 0 and on(month, CARD_PAYMENT_DAY) <= life.today and not _card_frozen(life, on(month, CARD_PAYMENT_DAY)):
            paid += due
            day = on(month, CARD_PAYMENT_DAY)
            payments.append(Draft("checking", day, -due, "BLUEBELL CARD AUTOPAY WEB ID: 7730", "BILLPAYMENT", merchant="Larkspur Bluebell Rewards"))
            payments.append(Draft("card", day, due, "AUTOMATIC PAYMENT - THANK YOU", "PAYMENT"))
    return payments


def _card_frozen(life: Life, day: date) -> bool:
    return "fraud" in life.person.traits and day > life.today - timedelta(days=RESTRICTED_DAYS_AGO)


def loan_payments(life: Life) -> list[Draft]:
    """A fixed instalment a month, part of which is interest on what is still owed."""
    if not life.holds("loan"):
        return []
    owed = -_opening_guess(life, "loan") + 24 * 36000
    rows: list[Draft] = []
    for month in months(life.start, life.today):
        day = on(month, 6)
        if day > life.today:
            break
        interest = owed * 59 // 12000
        owed += interest - 41280
        rows.append(Draft("loan", day, -interest, "INTEREST CHARGED", "INTEREST"))
        rows.append(Draft("loan", day, 41280, "LOAN PAYMENT RECEIVED", "PAYMENT"))
        rows.append(Draft("checking", day, -41280, "LARKSPUR AUTO LOAN PMT", "BILLPAYMENT", merchant="Larkspur Auto Loan"))
    return rows


def bill_funding(life: Life) -> list[Draft]:
    """Where bills have an account of their own, checking feeds it on the first of the month."""
    if not life.holds("bills"):
        return []
    rows: list[Draft] = []
    for month in months(life.start, life.today):
        rows += _transfer(life, month, "checking", "bills", life.person.rent + 41000)
    return rows


def sweeps(life: Life, drafts: list[Draft]) -> list[Draft]:
    """Keeps checking near what the person likes to see there: surplus moves on late in the month, and gaps are filled before they hurt."""
    home = next(holding for holding in life.person.holdings if holding.key == "checking")
    balance = home.target
    added: list[Draft] = []
    rows = sorted((d for d in drafts if d.account == "checking" and _posting_day(d) <= life.today), key=lambda d: (_posting_day(d), -d.amount))
    swept = life.start.replace(day=1) - timedelta(days=1)
    for row in rows:
        day = _posting_day(row)
        if day.day >= SWEEP_DAY and (day.year, day.month) != (swept.year, swept.month):
            swept = day
            for move in _sweep(life, day, balance - home.target):
                added.append(move)
                balance += move.amount if move.account == "checking" else 0
        if balance + row.amount < FLOOR:
            for move in _rescue(life, day, balance + row.amount):
                added.append(move)
                balance += move.amount if move.account == "checking" else 0
        balance += row.amount
    return added


def _sweep(life: Life, day: date, surplus: int) -> Iterator[Draft]:
    surplus -= surplus % 2500
    if surplus < 10000:
        return
    if "overdraft" in life.person.traits:
        yield Draft("checking", day, -surplus, "CAMPUS BURSAR TUITION WEB PMTS", "BILLPAYMENT", merchant="Campus Bursar", merchant_category="8220")
        return
    if life.holds("savings"):
        kept = min(surplus, 25000)
        surplus -= kept
        yield from _transfer(life, day, "checking", "savings", kept)
    if surplus >= 20000:
        yield Draft("checking", day, -surplus, "BRAMBLEWOOD BROKERAGE DES:INVEST WEB ID: 5501", "TRANSFER", merchant="Bramblewood Brokerage")


def _rescue(life: Life, day: date, would_be: int) -> Iterator[Draft]:
    if "overdraft" in life.person.traits:
        if would_be < 0:
            yield Draft("checking", day, -3400, "OVERDRAFT FEE", "FEE")
        if would_be < -4000:
            yield Draft(
                "checking",
                day,
                25000,
                "PAYLARK FROM NGOZI OKAFOR REF 204471",
                "PERSONTOPERSON",
                individual="Ngozi Okafor",
                memo="please eat something green",
            )
        return
    amount = (FLOOR - would_be) // 10000 * 10000 + 20000
    if life.holds("savings"):
        yield from _transfer(life, day, "savings", "checking", amount)
    else:
        yield Draft("checking", day, amount, "BRAMBLEWOOD BROKERAGE DES:REDEMPTION", "TRANSFER", merchant="Bramblewood Brokerage")


def _transfer(life: Life, day: date, source: str, target: str, amount: int) -> list[Draft]:
    digits = {holding.key: _number(life, holding)[-4:] for holding in life.person.holdings}
    return [
        Draft(source, day, -amount, f"ONLINE TRANSFER TO ****{digits[target]}", "TRANSFER"),
        Draft(target, day, amount, f"ONLINE TRANSFER FROM ****{digits[source]}", "TRANSFER"),
    ]


def _account(life: Life, holding: Holding, drafts: list[Draft]) -> Account:
    opening = _opening(life, holding, drafts)
    drafts = drafts + list(_interest(life, holding, drafts, opening))
    if holding.status == "CLOSED":
        drafts = list(_closing(life, holding, drafts, opening))
    account_id = identifier("account", life.seed, life.person.username, holding.key)
    return Account(
        account_id=account_id,
        kind=holding.kind,
        product=holding.product,
        nickname=holding.nickname,
        number=_number(life, holding),
        currency=holding.currency,
        status=holding.status,
        opening=opening,
        as_of=datetime.combine(life.today, MORNING),
        credit_line=holding.credit_line,
        postings=tuple(_postings(life, holding, account_id, drafts)),
    )


def _opening(life: Life, holding: Holding, drafts: list[Draft]) -> int:
    if holding.status == "CLOSED":
        return 84210
    if holding.key == "checking" or holding.kind == "credit_card":
        return _opening_guess(life, holding.key)
    if holding.kind == "loan":
        return _opening_guess(life, "loan") - 24 * 36000
    booked = sorted((d for d in drafts if _posting_day(d) <= life.today), key=lambda d: (_posting_day(d), d.amount))
    lowest, running = 0, 0
    for row in booked:
        running += row.amount
        lowest = min(lowest, running)
    spare = 5000 + life.chance("spare", holding.key).randrange(0, 9000)
    return max(_opening_guess(life, holding.key) - running, spare - lowest)


def _opening_guess(life: Life, key: str) -> int:
    holding = next(holding for holding in life.person.holdings if holding.key == key)
    wobble = life.chance("opening", key).randrange(-holding.target // 16, holding.target // 16 + 1) if holding.target else 0
    if holding.key == "checking":
        return holding.target
    return -(holding.target + wobble) if holding.kind in ("credit_card", "loan") else holding.target + wobble


def _interest(life: Life, holding: Holding, drafts: list[Draft], opening: int) -> Iterator[Draft]:
    """Savings earn interest on the month's last day, reckoned on the booked balance of that day."""
    if holding.kind != "savings":
        return
    earned = 0
    for month in months(life.start, life.today):
        day = on(month, 31)
        balance = opening + earned + sum(d.amount for d in drafts if _posting_day(d) <= day)
        amount = max(0, balance) * (2 if holding.currency == "JPY" else 31) // 12000
        if day <= life.today and amount:
            earned += amount
            yield Draft(holding.key, day, amount, "INTEREST PAYMENT", "INTEREST")


def _closing(life: Life, holding: Holding, drafts: list[Draft], opening: int) -> Iterator[Draft]:
    last = on(life.today - timedelta(days=270), 12)
    kept = [draft for draft in drafts if draft.day < last]
    yield from kept
    balance = opening + sum(draft.amount for draft in kept)
    yield Draft(holding.key, last, -balance, "ACCOUNT CLOSED - BALANCE BY CASHIERS CHECK", "WITHDRAWAL")


def _number(life: Life, holding: Holding) -> str:
    return "".join(str(life.chance("number", holding.key, place).randrange(10)) for place in range(12))


def _posting_day(draft: Draft) -> date:
    return draft.day + timedelta(days=draft.delay)


def _postings(life: Life, holding: Holding, account_id: str, drafts: list[Draft]) -> list[Posting]:
    """Rows newest first. The latest card purchases to post keep their authorization beside them, as banks often show for a day or two."""
    drafts = sorted(drafts, key=lambda d: (d.day, d.description, d.amount))
    card = f"****{_number(life, replace(holding, key=holding.key + ' plastic'))[-4:]}"
    rows: list[Posting] = []
    twins = 0
    for ordinal, draft in reversed(list(enumerate(drafts))):
        names = (account_id, draft.day, ordinal - _first_of_day(drafts, draft.day), draft.description, draft.amount)
        row = _posting(life, draft, names, card)
        rows.append(row)
        fresh = not row.pending and bool(row.reference) and (life.today - row.day).days <= 1
        if fresh and twins < TWINS_KEPT:
            twins += 1
            rows.append(replace(row, transaction_id=row.reference, reference="", posted_at=None))
    return sorted(rows, key=lambda row: (row.posted_at or row.occurred_at, row.transaction_id), reverse=True)


def _first_of_day(drafts: list[Draft], day: date) -> int:
    low, high = 0, len(drafts)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if drafts[middle].day < day else (low, middle)
    return low


def _posting(life: Life, draft: Draft, names: Iterable[object], card: str) -> Posting:
    chance = stream("times", *names)
    posted = _posting_day(draft) <= life.today
    early = draft.delay == 0 or draft.day == life.today
    clock = time(0, chance.randrange(3, 28), chance.randrange(60), tzinfo=UTC)
    shop_clock = clock if early else time(chance.randrange(13, 24), chance.randrange(60), chance.randrange(60), tzinfo=UTC)
    occurred = datetime.combine(draft.day, shop_clock)
    posted_at = datetime.combine(_posting_day(draft), time(0, chance.randrange(30, 58), chance.randrange(60), tzinfo=UTC)) if posted else None
    authorization = identifier("authorization", *names)
    return Posting(
        transaction_id=identifier("posted", *names) if posted else authorization,
        occurred_at=occurred,
        posted_at=posted_at,
        amount=draft.amount,
        description=draft.description,
        transaction_type=draft.transaction_type,
        merchant=draft.merchant,
        merchant_category=draft.merchant_category,
        individual=draft.individual,
        memo=draft.memo,
        card=card if draft.by_card else "",
        reference=authorization if posted and draft.by_card else "",
        foreign_currency=draft.foreign_currency,
        foreign_amount=draft.foreign_amount,
    )
