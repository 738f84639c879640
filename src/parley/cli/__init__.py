"""The commands: parley demo, serve, chat, verify, log, policy, settings, doctor."""

from parley.cli.main import main

__all__ = ["main"]
