"""Alembic's entry. The connection comes from migrations/revisions, so that one transaction and one lock hold it all."""

from alembic import context

from core.tables import Row

connection = context.config.attributes["connection"]
if connection is None:
    raise SystemExit("run `python -m migrations`: it takes the lock that two migrators need")
context.configure(connection=connection, target_metadata=Row.metadata, render_as_batch=True)
context.run_migrations()
