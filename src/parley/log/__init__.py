"""Writes the release log. The notary, a process of its own, alone holds the log's key; everyone else is its client.

Nothing in here knows a customer, an amount or a bank: the log handles entry bytes, sealed sides and random handles.
"""
