"""Free text to an offering and slots. Sees the question and names; never who asks, never bank data."""

from parley.understanding.keywords import KeywordUnderstanding

__all__ = ["KeywordUnderstanding"]
