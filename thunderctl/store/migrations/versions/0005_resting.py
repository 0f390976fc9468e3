"""Instances of the plan that rest, and why; nothing for deployments that were stored before any could."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("deployments") as deployments:
        deployments.add_column(sa.Column("resting", sa.JSON(), nullable=False, server_default="{}"))
