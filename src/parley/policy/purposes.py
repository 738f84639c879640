"""A purpose that somebody named in words: one of ours, a forbidden one, or unknown."""

from __future__ import annotations

import re

from parley.model.refusals import PurposeForbidden, PurposeUnknown
from parley.model.words import DPV_TERMS, Purpose
from parley.proof import is_forbidden

BY_NAME = {purpose.value: purpose for purpose in Purpose} | {term: purpose for purpose, term in DPV_TERMS.items()}
TELLTALE = re.compile(r"ads?$|advert|market|promot|cross.?sell|upsell|sell|sale|profil|train|recommend|target|score|scoring", re.IGNORECASE)
"""Words by which a purpose outside the DPV table still betrays what it is for. It only chooses between two refusals."""


def purpose_named(text: str) -> Purpose:
    """The purpose that a platform named.

    Raises PurposeForbidden for advertising and its kin, PurposeUnknown for everything else that is not on the closed list.
    The comparison is exact: no folding, trimming or guessing turns a stranger's word into a purpose.
    """
    purpose = BY_NAME.get(text)
    if purpose is not None:
        return purpose
    if is_forbidden(text) or TELLTALE.search(text):
        raise PurposeForbidden()
    raise PurposeUnknown()
