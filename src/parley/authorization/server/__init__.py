"""The authorization server: small, ours, four profiles with four audiences. Tokens are opaque and resolved through the grant."""
