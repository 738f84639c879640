"""The platforms: one folder each. A channel opens envelopes and delivers releases."""
