"""Policies that a bank can start from: each a folder with the rules and a README in a privacy officer's words, found by its name."""

from __future__ import annotations

import shutil
from pathlib import Path

from parley.policy.load import RULES_FILE, PolicyRejected

FOLDER = Path(__file__).parent
STANDARD = "standard"
"""What runs where the settings name no policy."""


def pack_names() -> tuple[str, ...]:
    """All packs, by name."""
    return tuple(sorted(each.name for each in FOLDER.iterdir() if (each / RULES_FILE).is_file()))


def policy_place(named: str) -> Path:
    """Where the policy lies that a setting or an officer names: a pack's name, or a path. Empty is the standard pack.

    A name without a slash that is a pack's is the pack, whatever lies in the current folder: write `./standard` for a folder of yours.
    Raises PolicyRejected, with the packs there are, for what is neither.
    """
    if named in ("", *pack_names()):
        return FOLDER / (named or STANDARD)
    path = Path(named)
    if not path.exists():
        raise PolicyRejected(f"{named}: no such file, folder or pack. The packs are: {', '.join(pack_names())}.")
    return path


def copy_pack(name: str, folder: Path) -> tuple[Path, ...]:
    """Copy a pack into a new folder, for a bank to make its own, and return what was written. Overwrites nothing.

    Raises PolicyRejected for an unknown pack, FileExistsError where the folder is not empty, OSError where it cannot be written.
    """
    if name not in pack_names():
        raise PolicyRejected(f"{name}: no such pack. The packs are: {', '.join(pack_names())}.")
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty. Name a new folder: nothing is overwritten.")
    sources = sorted(each for each in (FOLDER / name).iterdir() if each.is_file())
    return tuple(Path(shutil.copyfile(source, folder / source.name)) for source in sources)
