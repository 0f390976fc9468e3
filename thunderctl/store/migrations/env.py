"""What Alembic runs: on the connection, and in the transaction, that `migrate` hands over."""

from alembic import context
from sqlmodel import SQLModel

from thunderctl.store import tables  # noqa: F401  (fills SQLModel.metadata)

context.configure(connection=context.config.attributes["connection"], target_metadata=SQLModel.metadata)
context.run_migrations()
