"""Parley: the gateway a bank runs between its own servers and other people's messengers and assistants."""

__version__ = "0.1.0"
