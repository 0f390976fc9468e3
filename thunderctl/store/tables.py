"""The tables. `migrations/` makes them; a test holds the two alike. Times are seconds since the epoch."""

from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel


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
    quoted_usd_per_hour: float
    state: str
    created_at: float
    sent_at: float | None
    ended_at: float | None
    expires_at: float | None
    provider_id: str
    live_usd_per_hour: float | None
    attempts: int
    reason: str


class EventTable(SQLModel, table=True):
    __tablename__ = "events"

    event_id: int | None = Field(default=None, primary_key=True)
    at: float
    deployment: str = Field(index=True)
    kind: str
    message: str
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
