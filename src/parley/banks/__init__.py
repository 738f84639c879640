"""The bank dialects: one folder each. A connector reads ordered fields into the canonical model."""
