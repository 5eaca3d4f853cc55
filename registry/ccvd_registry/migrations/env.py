"""What alembic runs: the missing migrations, on its caller's connection and in its caller's transaction."""

from alembic import context

from ccvd_registry.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
