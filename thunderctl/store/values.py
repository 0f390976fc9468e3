"""What the store keeps besides leases, as plain values. Times are seconds since the epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class DeploymentState(StrEnum):
    ABSENT = "absent"
    STARTING = "starting"
    SERVING = "serving"
    DEGRADED = "degraded"
    STOPPING = "stopping"
    MOVED = "moved"
    """To another host's store: by this one nothing is leased or changed any more (`thunderctl/store/moving.py`)."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment as commands last left it. `spec` is what `up` was given, so that `down` needs no file.

    `plan_id` is the plan in force and `epoch` its number; `endpoint` is the base URL that clients use. `resting` is
    what of the plan is released on purpose (`thunderctl/fleet/resting.py`).
    """

    name: str
    state: DeploymentState = DeploymentState.ABSENT
    epoch: int = 0
    plan_id: str = ""
    endpoint: str = ""
    budget_usd_per_hour: float = 0.0
    spec: Mapping[str, Any] = field(default_factory=dict)
    created_at: float = 0.0
    updated_at: float = 0.0
    resting: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A plan's JSON document (`thunder.plan/v1`) and when it was saved for a deployment."""

    plan_id: str
    deployment: str
    created_at: float
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a deployment, in one line, with its figures."""

    event_id: int
    at: float
    deployment: str
    kind: str
    message: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a deployment's lock, and what for. `user` is `name@host`; pid and start time name the process."""

    deployment: str
    user: str
    host: str
    pid: int
    started_at: float
    message: str
    taken_at: float
    expires_at: float
