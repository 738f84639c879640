"""The speed table: what an answer with proof costs, beside what people would run without it. `python -m bench --help` says how."""
