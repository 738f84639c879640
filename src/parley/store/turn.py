"""Whose turn it is to make a file: a lock on the folder that it stands in."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process, and one thread of it, at a time makes a database file: SQLite does not wait for its turn while a journal mode changes.

    The folder is locked, not the file, because closing a second handle of the file would drop SQLite's own locks on it.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
