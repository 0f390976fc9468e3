"""The account that a lease is billed to; empty for those that were stored before it was asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("leases") as leases:
        leases.add_column(sa.Column("account", sa.String(), nullable=False, server_default=""))
