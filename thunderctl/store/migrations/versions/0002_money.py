"""Money as decimal digits; every price that a lease had, with its time; what was moved between machines."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

AMOUNTS = ("quoted_usd_per_hour", "live_usd_per_hour")


def upgrade() -> None:
    before = op.get_bind().execute(sa.text(f"SELECT lease_id, {', '.join(AMOUNTS)} FROM leases")).all()
    with op.batch_alter_table("leases") as leases:
        for name, nullable in zip(AMOUNTS, (False, True), strict=True):
            leases.alter_column(name, type_=sa.String(), existing_type=sa.Float(), existing_nullable=nullable)
        leases.add_column(sa.Column("prices", sa.JSON(), nullable=False, server_default="[]"))
    for lease_id, *amounts in before:
        _write_exactly(lease_id, amounts)
    op.create_table(
        "transfers",
        sa.Column("source", sa.String(), primary_key=True),
        sa.Column("target", sa.String(), primary_key=True),
        sa.Column("counter", sa.Float(), primary_key=True),
        sa.Column("at", sa.Float(), primary_key=True),
        sa.Column("deployment", sa.String(), nullable=False, index=True),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("usd_per_gb", sa.String()),
    )


def _write_exactly(lease_id: str, amounts: list[float | None]) -> None:
    """The digits that Python would read back as the same float: a database's own cast rounds."""
    digits = {name: None if amount is None else repr(amount) for name, amount in zip(AMOUNTS, amounts, strict=True)}
    assigned = ", ".join(f"{name} = :{name}" for name in AMOUNTS)
    op.get_bind().execute(
        sa.text(f"UPDATE leases SET {assigned} WHERE lease_id = :lease_id"), {**digits, "lease_id": lease_id}
    )
