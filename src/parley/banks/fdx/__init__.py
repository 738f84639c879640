"""FDX 6: the dialect of most banks in the United States and Canada, and the way into a bank that runs this gateway in front of its own API."""

from parley.banks.fdx.bank import FdxBank
from parley.banks.fdx.reads import derived_id
from parley.banks.fdx.settings import BadBankSettings, FdxSettings

__all__ = ["BadBankSettings", "FdxBank", "FdxSettings", "derived_id"]
