"""What crosses between our processes: frozen values with one JSON form each.

The routes document is also a file that anyone may write (`thunder.routes/v1`); the rest is between a deployment's own
controller, router and agents, which all run the same version.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from planner.deployment import Codec, Phase
from planner.errors import SpecError
from runtime.typed import LARGEST, check_types

ROUTES_SCHEMA = "thunder.routes/v1"

CONTROLLER_NAME = "controller.thunder"
ROUTER_NAME = "router.thunder"
AGENT_SUFFIX = ".agent.thunder"


def agent_name(lease_id: str) -> str:
    """The name in an agent's certificate: the lease, never the address, which clouds use again."""
    return f"{lease_id}{AGENT_SUFFIX}"


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One engine that an agent is asked to run. `model` is a folder on the agent's host; sizes in bytes.

    `layer_partition` is empty for an even split over `pp` stages. `device` is `cpu` or `cuda`. An engine whose KV
    can't be moved does without the connector (`transfers`). `recompute_tokens_per_s` bounds what it computes of prompts
    whose KV should have come (None: the connector's default); a running engine with another rate is the same engine.
    """

    replica: str
    model: str
    served_name: str
    dtype: str
    max_model_len: int
    kv_cache_bytes: int
    device: str
    gpus: tuple[int, ...] = ()
    tp: int = 1
    pp: int = 1
    layer_partition: tuple[int, ...] = ()
    boundary_layers: int = 2
    chat_template: str = ""
    extra_args: tuple[str, ...] = ()
    transfers: bool = True
    recompute_tokens_per_s: float | None = field(default=None, compare=False)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        lists = ("gpus", "layer_partition", "extra_args")
        values: dict[str, Any] = {key: tuple(value) if key in lists else value for key, value in document.items()}
        return cls(**values)


@dataclass(frozen=True, slots=True)
class EngineHealth:
    """One engine as its agent sees it.

    `state`: starting, ready, draining, stopped, failed. `pid` and `started_at` (seconds since the epoch) name the
    process beyond doubt. `detail` says why it failed, with the end of its log. `spec` is what it was asked to run.
    `default_max_tokens` as in `ReplicaAddress`.
    """

    replica: str
    state: str
    pid: int | None = None
    started_at: float | None = None
    detail: str = ""
    running: int = 0
    waiting: int = 0
    kv_usage: float = 0.0
    spec: EngineSpec | None = None
    default_max_tokens: int | None = None

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        spec = document.get("spec")
        return cls(**{**document, "spec": EngineSpec.from_json(spec) if spec else None})


@dataclass(frozen=True, slots=True)
class LinkHealth:
    """The way from another agent (`peer`, its certificate's name) to this one, as measured; None: not yet.

    `latency_ms` is one way, half a round trip. `age_s`: since anything last arrived on it. `bytes` arrived since the
    counting began, at `counter` by a clock of the agent's own: another value is another count, from nothing.
    """

    peer: str
    bandwidth_gbit_per_s: float | None
    latency_ms: float | None
    age_s: float
    bytes: int = 0
    counter: float = 0.0


@dataclass(frozen=True, slots=True)
class AgentHealth:
    """What `GET /health` of an agent answers. Pool sizes in bytes; `kv` counts transfers and bytes by outcome."""

    instance: str
    version: str
    engines: tuple[EngineHealth, ...] = ()
    pool_bytes: int = 0
    pool_used_bytes: int = 0
    tickets: int = 0
    kv: Mapping[str, float] = field(default_factory=dict)
    links: tuple[LinkHealth, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Raises ValueError, KeyError, TypeError or AttributeError for what is none."""
        engines = tuple(EngineHealth.from_json(engine) for engine in document["engines"])
        links = tuple(LinkHealth(**link) for link in document.get("links", ()))
        health = cls(**{**document, "engines": engines, "links": links})
        check_types(health)
        return health


@dataclass(frozen=True, slots=True)
class ReplicaAddress:
    """Where a replica is reached. With `server_name`, over mutual TLS to its agent, whose certificate says so.

    `max_requests` is how many requests it holds at a time, by the plan; 0 where nobody said. `local_tokens_per_s`:
    prompt tokens that a decode replica may compute beside decoding, though its routes have a prefill replica.
    `capacity_rps`: requests a second that it gets through, by the plan; 0 where nobody said. `default_max_tokens`: what
    its engine gives a chat that states no limit; 0: as many as fit. None, where nobody said: a stream of such a chat
    that breaks off is not taken up by another replica, as it might not end where it would have.
    """

    id: str
    phase: Phase
    url: str
    weight: float = 1.0
    server_name: str = ""
    max_requests: int = 0
    local_tokens_per_s: float = 0.0
    capacity_rps: float = 0.0
    default_max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class RouteShare:
    """One (prefill, decode) pair of replica ids and its share of the traffic.

    Shorter prompts than `local_below_tokens`, or rests of prompts, are computed by the decode replica (0: none).
    """

    prefill: str
    decode: str
    share: float
    codec: Codec
    local_below_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Routes:
    """What the router runs on: one epoch of a plan. `plan_id` is empty where nobody said which."""

    epoch: int
    model: str
    replicas: tuple[ReplicaAddress, ...]
    routes: tuple[RouteShare, ...]
    plan_id: str = ""

    @property
    def default_max_tokens(self) -> int | None:
        """What all replicas that decode give a chat which states no limit, where they are known to be at one."""
        said = {replica.default_max_tokens for replica in self.replicas if replica.phase.decodes}
        return said.pop() if len(said) == 1 else None

    def __post_init__(self) -> None:
        ids = [replica.id for replica in self.replicas]
        if len(set(ids)) != len(ids):
            raise SpecError(f"Routes name a replica twice: {', '.join(sorted(ids))}; expected each id once.")
        phases = {replica.id: replica.phase for replica in self.replicas}
        for route in self.routes:
            for end in (route.prefill, route.decode):
                if end not in phases:
                    raise SpecError(f"A route names replica {end!r}; expected one of {', '.join(sorted(ids))}.")
            if not phases[route.decode].decodes and route.codec is not Codec.LOCAL:
                raise SpecError(f"A route decodes on {route.decode}, whose phase is {phases[route.decode]}.")
            if route.prefill == route.decode and route.codec is not Codec.LOCAL:
                raise SpecError(f"A route from {route.prefill} to itself has codec {route.codec}; expected local.")
            if not 0 <= route.share < math.inf:
                raise SpecError(f"Route {route.prefill} → {route.decode} has share {route.share}; expected ≥ 0.")
        if not sum(route.share for route in self.routes) > 0:
            raise SpecError("Routes have no share above 0; expected at least one route that takes traffic.")

    def to_json(self) -> dict[str, Any]:
        return {"schema": ROUTES_SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read a `thunder.routes/v1` document. Raises SpecError naming what is missing or unknown."""
        if document.get("schema") != ROUTES_SCHEMA:
            raise SpecError(f"Routes have schema {document.get('schema')!r}; expected {ROUTES_SCHEMA!r}.")
        try:
            replicas = tuple(
                ReplicaAddress(
                    id=entry["id"],
                    phase=Phase(entry["phase"]),
                    url=_url(entry["url"], entry.get("server_name", "")),
                    weight=_amount(entry, "weight", 1.0),
                    server_name=entry.get("server_name", ""),
                    max_requests=_count(entry.get("max_requests", 0)),
                    local_tokens_per_s=_amount(entry, "local_tokens_per_s", 0.0),
                    capacity_rps=_amount(entry, "capacity_rps", 0.0),
                    default_max_tokens=None if (limit := entry.get("default_max_tokens")) is None else _count(limit),
                )
                for entry in document["replicas"]
            )
            routes = tuple(
                RouteShare(
                    entry["prefill"],
                    entry["decode"],
                    float(entry["share"]),
                    Codec(entry["codec"]),
                    local_below_tokens=_count(entry.get("local_below_tokens", 0)),
                )
                for entry in document["routes"]
            )
            plan_id = str(document.get("plan_id", ""))
            return cls(_count(document["epoch"]), str(document["model"]), replicas, routes, plan_id)
        except KeyError as error:
            raise SpecError(f"Routes lack the key {error.args[0]!r}.") from error
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise SpecError(f"Routes can't be read: {error}.") from error


def _amount(entry: Mapping[str, Any], key: str, otherwise: float) -> float:
    """What stands under a key, else `otherwise`. Raises ValueError for no number from 0 on."""
    amount = float(entry.get(key, otherwise))
    if not 0 <= amount < math.inf:
        raise ValueError(f"{key} is {amount}; expected a number from 0 on")
    return amount


def _count(value: Any) -> int:
    """Raises ValueError for no whole number from 0 on that databases hold, OverflowError for infinity."""
    if not 0 <= (count := int(value)) <= LARGEST:
        raise ValueError(f"{count} stands where a number from 0 on is expected")
    return count


def _url(said: str, server_name: str) -> str:
    """A replica's address, without a last slash. Raises ValueError for one that nobody could be asked at."""
    try:
        parts = urlsplit(said)
        host, _ = (parts.hostname or "").encode("idna"), parts.port
    except ValueError as error:
        raise ValueError(f"url is {said!r}: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"url is {said!r}; expected http://HOST:PORT or https://HOST:PORT")
    if server_name and parts.scheme != "https":
        raise ValueError(f"url is {said!r}; expected https://HOST:PORT, as with server_name {server_name!r} it is TLS")
    return said.rstrip("/")
