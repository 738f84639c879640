"""The pages of linking: to the bank and back, the consent page, pairing a terminal, signing out."""

from parley.authorization.pages.routes import LinkingSettings, authorization_routes

__all__ = ["LinkingSettings", "authorization_routes"]
