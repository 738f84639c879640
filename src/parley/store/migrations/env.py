"""Alembic's entry: it only writes SQL (offline mode); `parley.store.migrate` runs it in one transaction of its own."""

from alembic import context

context.configure(
    dialect_name=context.config.get_main_option("dialect"),
    version_table="schema_version",
    literal_binds=True,
    output_buffer=context.config.output_buffer,
    transactional_ddl=False,
)
context.run_migrations()
