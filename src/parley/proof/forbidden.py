"""Purposes that no release may ever carry, in the words of the W3C Data Privacy Vocabulary (w3id.org/dpv, version 2.3).

The gateway has no word for any of these, the notary refuses an entry that names one, and an audit would show it. Branches are listed flat:
in the vocabulary some of the worst (selling data) sit beneath harmless parents.
"""

from __future__ import annotations

_MARKETING = """
    Marketing Advertising PersonalisedAdvertising TargetedAdvertising TargetedRecruitmentAdvertising DirectMarketing
    SocialMediaMarketing PublicRelations PoliticalCampaign MarketResearch MarketingResearch
"""
_PERSONALISATION = """
    Personalisation PersonalisedBenefits PersonalisedRecommendations ServicePersonalisation UserInterfacePersonalisation
    ProvidePersonalisedRecommendations ProvideEventRecommendations ProvideProductRecommendations
    CreatePersonalisedRecommendations CreateEventRecommendations CreateProductRecommendations
"""
_SELLING = "SellProducts SellProductsToDataSubject SellDataToThirdParties SellInsightsFromData"
_JUDGING = "CustomerSolvencyMonitoring ResearchAndDevelopment"

FORBIDDEN_PURPOSES = frozenset(f"{_MARKETING} {_PERSONALISATION} {_SELLING} {_JUDGING}".split())
_FOLDED = frozenset(term.casefold() for term in FORBIDDEN_PURPOSES)


def is_forbidden(purpose: str) -> bool:
    """Whether a purpose such as `dpv:Advertising` is in the table, whatever its prefix and letter case."""
    return purpose.replace("#", ":").replace("/", ":").rsplit(":", 1)[-1].strip().casefold() in _FOLDED
