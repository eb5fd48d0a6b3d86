"""Run by alembic: migrations on the connection that `migrate.upgrade` gives, or as SQL text."""

from alembic import context

from groundshift.ledger.tables import metadata

if (connection := context.config.attributes.get("connection")) is None:
    dialect = context.config.attributes.get("dialect", "postgresql")
    context.configure(dialect_name=dialect, target_metadata=metadata, literal_binds=True)
else:
    context.configure(connection=connection, target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
