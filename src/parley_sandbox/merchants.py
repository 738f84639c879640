"""Invented merchants: what they are called, how they look on a statement, their category code (ISO 18245) and their prices in cents."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Merchant:
    """A shop. `line` is its statement descriptor, in which {store}, {tail}, {city} and {order} are filled per purchase."""

    name: str
    line: str
    category: str
    low: int
    high: int
    foreign: str = ""
    menu: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Subscription:
    """A recurring charge. `prices` are cents, oldest first; each later price starts that many months before today."""

    name: str
    line: str
    category: str
    day: int
    prices: tuple[tuple[int, int], ...]


SHOPS: dict[str, tuple[Merchant, ...]] = {
    "groceries": (
        Merchant("Fennel & Rye Market", "FENNEL & RYE MKT #{store} {city}", "5411", 1840, 12650),
        Merchant("Brightbasket", "BRIGHTBASKET {store} {city}", "5411", 900, 9870),
        Merchant("Gullwing Foods", "GULLWING FOODS #0{store} {city}", "5411", 1210, 16900),
        Merchant("Corner Pantry", "SQ *CORNER PANTRY {city}", "5499", 340, 2980),
    ),
    "coffee": (
        Merchant("Three Kettles Coffee", "SQ *THREE KETTLES COFFEE {city}", "5814", 375, 1250, menu=(375, 425, 475, 550, 625, 890)),
        Merchant("Slow Tide Roasters", "SQ *SLOW TIDE ROASTERS {city}", "5814", 400, 1400, menu=(400, 450, 525, 575, 980, 1180)),
        Merchant("Crumb Theory Bakery", "TST* CRUMB THEORY {city}", "5462", 350, 2400, menu=(350, 495, 725, 1040, 1865)),
    ),
    "dining": (
        Merchant("Lantern Noodle Bar", "TST* LANTERN NOODLE BAR {city}", "5812", 1480, 5420),
        Merchant("Casa Ventisca", "CASA VENTISCA {city}", "5812", 2250, 9840),
        Merchant("The Gilded Onion", "TST* THE GILDED ONION {city}", "5812", 2890, 13400),
        Merchant("Pepperwick Pizza", "PEPPERWICK PIZZA {store} {city}", "5812", 1195, 4680),
        Merchant("Noshrunner", "NOSHRUNNER *{order} HELP.NOSHRUNNER", "5814", 1780, 5990),
    ),
    "fuel": (
        Merchant("Halcyon Fuel", "HALCYON FUEL {store} {city}", "5542", 2380, 6890),
        Merchant("Roadstead", "ROADSTEAD OUTSIDE {store} {city}", "5542", 2140, 7120),
    ),
    "transport": (
        Merchant("Metro Harbor Transit", "METRO HARBOR TRANSIT *FARE", "4111", 275, 2750, menu=(275, 275, 550, 1100, 2750)),
        Merchant("Zipwing", "ZIPWING *TRIP {order}", "4121", 890, 4380),
        Merchant("Quayside Parking", "QUAYSIDE PARKING {store}", "7523", 300, 2400, menu=(300, 600, 900, 1800, 2400)),
    ),
    "online": (
        Merchant("Parcelwise", "PARCELWISE MKTPL*{order}", "5999", 899, 14900),
        Merchant("Inkwell & Sons Books", "INKWELL&SONS BOOKS *{order}", "5942", 1199, 6480),
        Merchant("Threadbare Studio", "THREADBARE STUDIO ONLINE {order}", "5651", 2400, 18900),
        Merchant("Voltmere Electronics", "VOLTMERE ELECTRONICS #{store}", "5732", 1999, 38900),
    ),
    "household": (
        Merchant("Oak & Anvil Hardware", "OAK & ANVIL HDWE #{store} {city}", "5251", 690, 14200),
        Merchant("Hearthside Home", "HEARTHSIDE HOME {store} {city}", "5712", 1590, 21900),
        Merchant("Pawprint Pet Supply", "PAWPRINT PET SUPPLY {store}", "5995", 1290, 8840),
    ),
    "health": (
        Merchant("Wellhollow Pharmacy", "WELLHOLLOW PHARMACY #{store} {city}", "5912", 480, 6890),
        Merchant("Pine Street Dental", "PINE STREET DENTAL GRP {city}", "8021", 4500, 24800),
        Merchant("Harbor Family Clinic", "HARBOR FAMILY CLINIC COPAY", "8011", 2500, 6000, menu=(2500, 3000, 4000, 6000)),
    ),
    "fun": (
        Merchant("The Velvet Projector", "VELVET PROJECTOR CINEMA {city}", "7832", 1350, 5200),
        Merchant("Gamewright Arcade", "SQ *GAMEWRIGHT ARCADE {city}", "7994", 800, 4200),
        Merchant("Ticketwren", "TICKETWREN *EVENT {order}", "7922", 3400, 18800),
    ),
    "children": (
        Merchant("Tumbletown Toys", "TUMBLETOWN TOYS #{store} {city}", "5945", 1199, 7990),
        Merchant("Little Herons Daycare", "LITTLE HERONS DAYCARE {city}", "8351", 8500, 16500, menu=(8500, 12500, 16500)),
        Merchant("Swim Foundry", "SQ *SWIM FOUNDRY {city}", "7999", 1800, 6400),
    ),
}

ABROAD: dict[str, tuple[Merchant, ...]] = {
    "EUR": (
        Merchant("Trattoria Due Lune", "TRATTORIA DUE LUNE BOLOGNA IT", "5812", 1850, 7900),
        Merchant("Hotel Lindenhof", "HOTEL LINDENHOF WIEN AT", "7011", 9800, 24500),
        Merchant("Rail Iberica", "RAIL IBERICA BILHETES PORTO PT", "4112", 1240, 8900),
    ),
    "GBP": (
        Merchant("The Copper Heron", "THE COPPER HERON LONDON GB", "5813", 980, 6400),
        Merchant("Northgate Museum Shop", "NORTHGATE MUSEUM SHOP YORK GB", "5947", 650, 4200),
    ),
    "CAD": (
        Merchant("Maple & Main Diner", "MAPLE AND MAIN DINER TORONTO ON CA", "5812", 1490, 5200),
        Merchant("Lakehead Outfitters", "LAKEHEAD OUTFITTERS THUNDER BAY CA", "5941", 3400, 18900),
    ),
}

SUBSCRIPTIONS: dict[str, Subscription] = {
    "reelharbor": Subscription("Reelharbor", "REELHARBOR.COM REELHARBOR", "4899", 4, ((24, 1199), (14, 1399), (3, 1599))),
    "tunefern": Subscription("Tunefern", "TUNEFERN PREMIUM", "5815", 9, ((24, 999), (8, 1099))),
    "puffin": Subscription("Puffin Drive", "PUFFIN DRIVE STORAGE", "7372", 14, ((24, 299),)),
    "ledger": Subscription("The Morning Ledger", "MORNING LEDGER DIGITAL", "5968", 18, ((24, 400), (12, 1700))),
    "kinetic": Subscription("Kinetic Barn Fitness", "KINETIC BARN FITNESS MBRSHP", "7997", 2, ((24, 4500), (5, 4900))),
    "pixelforge": Subscription("Pixelforge Suite", "PIXELFORGE *SUITE ANNUAL PLAN", "5734", 21, ((24, 5499), (9, 5999))),
    "mealcrate": Subscription("Mealcrate", "MEALCRATE BOX *WEEKLY", "5499", 11, ((24, 6790), (4, 7190))),
    "guardly": Subscription("Guardly", "GUARDLY IDENTITY PROTECT", "7399", 25, ((24, 1299),)),
    "stargazer": Subscription("Stargazer Plus", "STARGAZER PLUS TV", "4899", 4, ((24, 799), (2, 999))),
}

UTILITIES: tuple[Subscription, ...] = (
    Subscription("Cascadia Power & Light", "CASCADIA POWER & LIGHT DES:ONLINE PMT ID:8841{tail}", "4900", 12, ((24, 8400),)),
    Subscription("Northline Wireless", "NORTHLINE WIRELESS AUTOPAY {tail}", "4814", 16, ((24, 6500), (7, 7000))),
    Subscription("Harborwater Utility", "HARBORWATER UTILITY DIST WEB PMTS", "4900", 20, ((24, 4120),)),
    Subscription("Bluefin Broadband", "BLUEFIN BROADBAND 800-555-0148", "4899", 22, ((24, 5999), (10, 6499))),
    Subscription("Evergable Insurance", "EVERGABLE INS DES:PREMIUM PPD ID: 33{tail}", "6300", 8, ((24, 11240), (11, 12115))),
)

CITIES = ("HARBORVIEW OR", "HARBORVIEW OR", "HARBORVIEW OR", "EAST QUAY OR", "MILLBROOK WA")

PEOPLE = ("Mara Quill", "Tomas Avery", "Yuki Sandoval", "Priya Lund", "Owen Tarrant", "Leila Marsh", "Nils Ferreira", "Sadie Kwan")
