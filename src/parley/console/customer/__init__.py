"""The customer's own page: what each platform may ask and has learned, every release with its receipt, and the switches that end it."""

from parley.console.customer.ledger import Ledger
from parley.console.customer.ports import CustomerSettings, GrantKeeper, PageRecords, SignInDesk, Visitors
from parley.console.customer.routes import customer_routes

__all__ = ["CustomerSettings", "GrantKeeper", "Ledger", "PageRecords", "SignInDesk", "Visitors", "customer_routes"]
