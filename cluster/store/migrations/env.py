"""Alembic's entry: runs the revisions on the connection that `cluster.store.sql` passes."""

from alembic import context

from cluster.store.schema import Row

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Row.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
