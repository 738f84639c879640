"""The cast: who banks here, what they own and how they live. Every name, employer and number is invented."""

from dataclasses import dataclass, field

from parley_sandbox.ledger import Kind, Status


@dataclass(frozen=True, slots=True)
class Holding:
    """An account that a person holds. `target` is about where its balance should hover, in minor units (for debts: what is owed)."""

    key: str
    kind: Kind
    product: str
    nickname: str
    target: int
    currency: str = "USD"
    status: Status = "OPEN"
    credit_line: int = 0


@dataclass(frozen=True, slots=True)
class Person:
    """A customer's life. `pay` is one salary in minor units; `habits` are purchases a week by kind of shop; `rent` is paid on the first."""

    username: str
    name: str
    portrait: str
    holdings: tuple[Holding, ...]
    employer: str
    pay: int
    cadence: str
    rent: int
    habits: dict[str, float]
    subscriptions: tuple[str, ...] = ()
    traits: frozenset[str] = field(default_factory=frozenset)


def _checking(target: int, nickname: str = "Everyday checking", **more: str) -> Holding:
    return Holding("checking", "checking", "Larkspur Everyday Checking", nickname, target, **more)  # type: ignore[arg-type]


def _savings(target: int, nickname: str = "Rainy day", product: str = "Larkspur Growth Savings") -> Holding:
    return Holding("savings", "savings", product, nickname, target)


def _card(line: int, nickname: str = "Bluebell card") -> Holding:
    return Holding("card", "credit_card", "Larkspur Bluebell Rewards", nickname, 41820, credit_line=line)


CITY_LIFE = {"groceries": 2.1, "coffee": 2.6, "dining": 1.6, "transport": 2.2, "online": 0.8, "household": 0.4, "health": 0.3, "fun": 0.4}
FAMILY_LIFE = {"groceries": 3.2, "coffee": 0.8, "dining": 0.9, "fuel": 1.1, "online": 0.9, "household": 0.7, "health": 0.4, "children": 0.9}
STUDENT_LIFE = {"groceries": 1.3, "coffee": 2.2, "dining": 1.2, "transport": 2.4, "online": 0.4, "fun": 0.5}
QUIET_LIFE = {"groceries": 1.8, "coffee": 0.5, "dining": 0.5, "fuel": 0.5, "household": 0.5, "health": 0.9, "online": 0.3}

CAST: tuple[Person, ...] = (
    Person(
        "ada",
        "Ada Merrow",
        "Product designer; checking, savings and a card, a tidy life with a few price rises.",
        (_checking(240000), _savings(1286000), _card(800000)),
        "BRAMBLE STUDIO INC",
        264310,
        "twice",
        164000,
        CITY_LIFE,
        ("reelharbor", "tunefern", "puffin", "kinetic"),
        frozenset({"friends"}),
    ),
    Person(
        "ben",
        "Ben Okafor",
        "Student who lives close to zero: cash, friends and the odd overdraft fee.",
        (_checking(16000, "Campus checking"),),
        "GULLWING FOODS",
        88120,
        "twice",
        62000,
        STUDENT_LIFE,
        ("tunefern",),
        frozenset({"friends", "cash", "overdraft"}),
    ),
    Person(
        "chiara",
        "Chiara Lindqvist",
        "Splits the year between two continents: a dollar and a euro account.",
        (
            _checking(310000, "Dollar account"),
            Holding("euro", "checking", "Larkspur Global Euro Account", "Euro account", 184000, "EUR"),
            _card(1000000),
        ),
        "TIDEWATER RESEARCH",
        312480,
        "twice",
        189000,
        CITY_LIFE,
        ("ledger", "puffin"),
        frozenset({"foreign"}),
    ),
    Person(
        "daichi",
        "Daichi Moreno",
        "Keeps yen for his parents' house: an account without decimals.",
        (_checking(192000), Holding("yen", "savings", "Larkspur Global Yen Account", "Yen savings", 486000, "JPY"), _card(600000)),
        "VOLTMERE ELECTRONICS",
        241900,
        "twice",
        148000,
        CITY_LIFE,
        ("reelharbor", "stargazer"),
        frozenset({"friends"}),
    ),
    Person(
        "esme",
        "Esme Valdry",
        "Shares everything with Tom: accounts whose nicknames look alike.",
        (
            _checking(287000, "Esme & Tom"),
            Holding("bills", "checking", "Larkspur Everyday Checking", "Esme & Tom bills", 118000),
            _savings(743000, "Esme and Tom house"),
        ),
        "ST. ORLA HOSPITAL",
        271540,
        "twice",
        212000,
        FAMILY_LIFE,
        ("mealcrate", "reelharbor"),
        frozenset(),
    ),
    Person(
        "farid",
        "Farid Haidari",
        "Moved banks once: an old account that is closed beside the one he uses.",
        (
            _checking(205000),
            Holding("old", "savings", "Larkspur Starter Savings", "Old savings", 0, status="CLOSED"),
            _card(450000),
        ),
        "COBALT FREIGHT LLC",
        226700,
        "twice",
        139500,
        QUIET_LIFE | {"fuel": 1.6},
        ("guardly",),
        frozenset(),
    ),
    Person(
        "grace",
        "Grace Oyelaran",
        "Her card was misused; the bank restricted it while it looks into the matter.",
        (
            _checking(336000),
            Holding("card", "credit_card", "Larkspur Bluebell Rewards", "Bluebell card", 52300, status="RESTRICTED", credit_line=700000),
        ),
        "OYELARAN DESIGN PARTNERS",
        298800,
        "twice",
        175000,
        CITY_LIFE,
        ("tunefern", "guardly"),
        frozenset({"fraud"}),
    ),
    Person(
        "hugo",
        "Hugo Brandt",
        "Freelancer: invoices come when they come, and half of what he buys goes back.",
        (_checking(268000, "Studio checking"), _savings(512000, "Tax pot"), _card(900000)),
        "INVOICE",
        178000,
        "irregular",
        152000,
        CITY_LIFE | {"online": 2.4},
        ("pixelforge", "puffin"),
        frozenset({"refunds"}),
    ),
    Person(
        "iris",
        "Iris Tamm",
        "Subscribed to everything, twice: price rises, duplicates and forgotten trials.",
        (_checking(176000), _card(500000)),
        "PINE STREET DENTAL GRP",
        218450,
        "twice",
        129000,
        STUDENT_LIFE,
        ("reelharbor", "stargazer", "tunefern", "puffin", "ledger", "kinetic", "mealcrate", "guardly"),
        frozenset({"duplicates"}),
    ),
    Person(
        "jonas",
        "Jonas Petrov",
        "Paying off a car: a loan with principal and interest.",
        (
            _checking(158000),
            Holding("loan", "loan", "Larkspur Auto Loan", "Car loan", 1846000),
            _card(400000),
        ),
        "HALCYON FUEL CORP",
        232600,
        "twice",
        118000,
        QUIET_LIFE | {"fuel": 2.0, "dining": 1.2},
        ("reelharbor",),
        frozenset({"cash"}),
    ),
    Person(
        "kamala",
        "Kamala Reyes",
        "Retired: a pension, a pharmacy, paper checks and careful savings.",
        (_checking(391000, "Household"), _savings(3120000, "Nest egg", "Larkspur Premier Savings")),
        "STATE TEACHERS PENSION",
        312600,
        "monthly",
        98000,
        QUIET_LIFE,
        ("ledger",),
        frozenset({"checks"}),
    ),
    Person(
        "liam",
        "Liam O'Dell",
        "Strangers send him cents with messages meant for machines, not for him.",
        (_checking(223000), _savings(264000)),
        "ROADSTEAD STATIONS",
        209300,
        "twice",
        121000,
        QUIET_LIFE,
        ("stargazer",),
        frozenset({"hostile", "friends"}),
    ),
    Person(
        "mei",
        "Mei Castellanos",
        "Three children, one income, a shopping list: many small rows.",
        (_checking(254000, "Family"), _savings(418000, "Summer trip"), _card(750000, "Family card")),
        "HARBOR FAMILY CLINIC",
        348200,
        "twice",
        214000,
        FAMILY_LIFE | {"children": 2.6, "groceries": 4.4},
        ("mealcrate", "reelharbor"),
        frozenset({"duplicates"}),
    ),
    Person(
        "noor",
        "Noor Whitfield",
        "On the road for work: foreign charges with fees, hotels and rail.",
        (_checking(342000), _card(1200000, "Travel card")),
        "WHITFIELD & ROWE LLP",
        418700,
        "twice",
        226000,
        CITY_LIFE | {"dining": 3.0},
        ("ledger", "puffin"),
        frozenset({"foreign", "refunds"}),
    ),
)
