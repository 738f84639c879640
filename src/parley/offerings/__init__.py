"""What can be asked: one folder each. An offering is arithmetic over ruled values; it has no network, clock or chance."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from parley.model.extensions import Offering


def load_offerings(names: Iterable[str]) -> dict[str, Offering]:
    """The offerings that the bank's settings name, each from its own folder. Raises ValueError for a name without a folder."""
    return {name: load_offering(name) for name in names}


def load_offering(name: str) -> Offering:
    if not name.isidentifier():
        raise ValueError(f"{name!r} is not the name of an offering")
    try:
        offering: Offering = import_module(f"parley.offerings.{name}").OFFERING
    except ModuleNotFoundError:
        raise ValueError(f"there is no offering {name!r}") from None
    return offering
