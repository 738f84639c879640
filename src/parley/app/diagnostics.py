"""What operators read: codes, counts and type names, one JSON object a line. Never a value, a text, a token or an account."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

import structlog

diagnostics = structlog.get_logger("parley")


def configure_diagnostics() -> None:
    """One JSON object a line on standard error."""
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True), structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def unforeseen(name: str) -> None:
    """`name`: the type of whatever broke, and nothing of its text."""
    diagnostics.error("unforeseen", type=name)


def place_of(error: Exception) -> str:
    """Where it broke, and nothing of what it said: an exception's text may hold what a customer wrote."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown"
