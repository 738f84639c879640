"""`parley.proof` must be readable over lunch and run without the rest of the house."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import parley.proof

FOLDER = Path(parley.proof.__file__).parent
LINES_MAX = 400


def test_it_imports_the_standard_library_cryptography_and_itself_alone() -> None:
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            for name in names:
                top = name.split(".")[0]
                assert top in sys.stdlib_module_names or top == "cryptography", (path.name, name)


def test_it_is_short_enough_to_be_read_whole() -> None:
    lines = [line for path in FOLDER.glob("*.py") for line in path.read_text().splitlines() if line.strip()]
    assert len(lines) < LINES_MAX


def test_importing_it_loads_nothing_else_of_ours() -> None:
    program = "import sys, parley.proof; print([name for name in sys.modules if name.startswith('parley.') and 'proof' not in name])"
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert outcome.stdout.strip() == "[]"
