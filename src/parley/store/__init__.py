"""The records and the keys: the only room that opens a database. `open_records` is the door."""

from parley.store.driver import RecordsConflict, RecordsNewer
from parley.store.keys import FileKeyRing, KeyRing, KeysUnsafe
from parley.store.migrate import SCHEMA_VERSION, migrate, schema_found
from parley.store.records import Records, open_records
from parley.store.vault import CustomerVault

__all__ = [
    "SCHEMA_VERSION",
    "CustomerVault",
    "FileKeyRing",
    "KeyRing",
    "KeysUnsafe",
    "Records",
    "RecordsConflict",
    "RecordsNewer",
    "migrate",
    "open_records",
    "schema_found",
]
