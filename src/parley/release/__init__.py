"""The road: the one way by which data leaves."""
