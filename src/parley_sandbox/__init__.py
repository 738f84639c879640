"""A demo bank for development: its own server, its own customers, its own login pages; it knows nothing about the gateway."""
