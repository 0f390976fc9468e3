"""The tables. `migrations/` makes them; a test holds the two alike. Times are seconds since the epoch."""

from decimal import Decimal
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Dialect, String, TypeDecorator
from sqlmodel import Field, SQLModel


class Money(TypeDecorator[Decimal]):
    """An amount as its decimal digits: databases' own numbers are floats in SQLite."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


class Said(TypeDecorator[str]):
    """What others said, without the NULs that PostgreSQL's text can't hold."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else value.replace("\0", "")


def _money(*, nullable: bool) -> Any:
    return Field(sa_column=Column(Money, nullable=nullable))


class DeploymentTable(SQLModel, table=True):
    __tablename__ = "deployments"

    name: str = Field(primary_key=True)
    state: str
    epoch: int
    plan_id: str
    endpoint: str
    budget_usd_per_hour: float
    spec: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    created_at: float
    updated_at: float
    resting: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    """`thunderctl.fleet.resting.Resting` as JSON."""


class PlanTable(SQLModel, table=True):
    __tablename__ = "plans"

    plan_id: str = Field(primary_key=True)
    deployment: str = Field(primary_key=True)
    created_at: float
    document: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class LeaseTable(SQLModel, table=True):
    __tablename__ = "leases"

    lease_id: str = Field(primary_key=True)
    owner_id: str
    deployment: str = Field(index=True)
    plan_id: str
    instance: str
    provider: str
    region: str
    offer_id: str
    label: str = Field(unique=True)
    quoted_usd_per_hour: Decimal = _money(nullable=False)
    state: str
    created_at: float
    sent_at: float | None
    ended_at: float | None
    expires_at: float | None
    provider_id: str
    live_usd_per_hour: Decimal | None = _money(nullable=True)
    attempts: int
    reason: str = Field(sa_column=Column(Said, nullable=False))
    prices: list[list[Any]] = Field(sa_column=Column(JSON, nullable=False))
    """[since, $/h as digits] for each."""
    account: str
    drained_for: str | None


class TransferTable(SQLModel, table=True):
    __tablename__ = "transfers"

    source: str = Field(primary_key=True)
    target: str = Field(primary_key=True)
    counter: float = Field(primary_key=True)
    at: float = Field(primary_key=True)
    deployment: str = Field(index=True)
    bytes: int = Field(sa_column=Column(BigInteger, nullable=False))
    usd_per_gb: Decimal | None = _money(nullable=True)


class EventTable(SQLModel, table=True):
    __tablename__ = "events"

    event_id: int | None = Field(default=None, primary_key=True)
    at: float
    deployment: str = Field(index=True)
    kind: str
    message: str = Field(sa_column=Column(Said, nullable=False))
    detail: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class LockTable(SQLModel, table=True):
    __tablename__ = "locks"

    deployment: str = Field(primary_key=True)
    user: str
    host: str
    pid: int
    started_at: float
    message: str
    taken_at: float
    expires_at: float
