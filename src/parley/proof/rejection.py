"""The one way in which a proof fails."""

from __future__ import annotations


class ProofRejected(Exception):
    """A receipt, checkpoint or Merkle proof did not hold.

    `code` is stable and meant for programs; the message is one plain sentence that says which check failed and carries nothing
    of what was checked, so that it may be logged.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
