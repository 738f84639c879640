"""What can be asked: one folder each. An offering is arithmetic over ruled values."""
