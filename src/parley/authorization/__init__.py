"""Linking: the client towards banks, sessions, and the consent page. No data leaves by this door."""
