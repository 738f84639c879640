"""The one way in which a proof fails."""

from __future__ import annotations


class ProofRejected(Exception):
    """`code` is stable, for programs; the message is one sentence that says which check failed and nothing of what was checked."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
