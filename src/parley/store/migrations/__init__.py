"""The schema's steps. Alembic turns them into SQL; our own drivers run it."""
