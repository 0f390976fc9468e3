"""The fleets and requests on which `benchmarks/router_policy.py` tries the router's policies."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from planner.arrivals import arrival_times
from planner.deployment import Codec, DemandSummary, Phase, Plan, Route
from planner.document import plan_from_json
from planner.lanes import lanes_of, server_of
from planner.members import members_of
from planner.replay import _paths
from planner.simulation.scenario import Lane, Requests, Server
from planner.traces import workload_named
from planner.workload import Slo
from runtime.messages import ReplicaAddress, Routes
from tests.planner.search.fleets import LAN_GBIT_PER_S, plan_of
from thunderctl.deploying.routing import replicas_of, shares_of

RESULTS = Path(__file__).parent / "results"
REQUESTS, LOAD = 3000, 0.8
KV_TOKENS = 120_000
TURNS, THINKING_S, SAID_TOKENS = 5, 20.0, 200
TPOT_S = 0.03
"""Of the fleets of A6000, about: what their routes are worked out with."""


@dataclass(frozen=True, slots=True)
class World:
    """`sessions` names the conversation of each request."""

    name: str
    servers: tuple[Server, ...]
    lanes: tuple[Lane, ...]
    routes: Routes
    requests: Requests
    sessions: tuple[int, ...]
    slo: Slo


def worlds() -> list[Callable[[int], World]]:
    """Each is made from a seed."""
    return [
        *(partial(_published, name) for name in ("coding", "conversation")),
        *(partial(_fleet, size, name) for size in (2, 4) for name in ("coding", "conversation")),
        partial(_talking, 4),
    ]


def bounded_worlds() -> list[Callable[[int], World]]:
    """Those on which the bound is tried."""
    return [partial(_fleet, 4, "coding"), partial(_talking, 4)]


def _published(name: str, seed: int) -> World:
    plan = plan_from_json(json.loads((RESULTS / f"published_{name}.plan.json").read_text()))
    requests = _alone(name, plan.predicted.goodput_rps * LOAD, plan.max_model_len, np.random.default_rng(seed))
    return _world(f"plan of the paper's fleet, {name}", plan, requests, range(len(requests.prompt)))


def _fleet(size: int, name: str, seed: int) -> World:
    plan = _alike(size, name)
    requests = _alone(name, plan.workload.rate_rps, plan.max_model_len, np.random.default_rng(seed))
    return _world(f"{size} + {size} A6000, {name}", plan, requests, range(len(requests.prompt)))


def _talking(size: int, seed: int) -> World:
    plan = _alike(size, "conversation")
    requests, sessions = _conversations(plan.workload.rate_rps, np.random.default_rng(seed))
    return _world(f"{size} + {size} A6000, conversations of {TURNS} turns", plan, requests, sessions)


def _alike(size: int, name: str) -> Plan:
    """So many prefill and as many decode replicas of qwen3-8b, each on an A6000 of its own, every pair alike."""
    bare = plan_of([("A6000", (1,))] * (2 * size))
    replicas = tuple(
        replace(one, phase=Phase.PREFILL if place < size else Phase.DECODE, kv_capacity_tokens=KV_TOKENS)
        for place, one in enumerate(bare.replicas)
    )
    pairs = [(source.id, target.id) for source in replicas[:size] for target in replicas[size:]]
    routes = tuple(Route(*pair, 1 / len(pairs), Codec.INT4, LAN_GBIT_PER_S) for pair in pairs)
    lengths = workload_named(name)
    pace = members_of(bare, {})[0].layout.pace
    rate_rps = LOAD * size / float(pace.prefill_interval_s(lengths.prompt_tokens_mean))
    output = float(np.mean([tokens for _, tokens in lengths.lengths]))
    return replace(
        bare,
        replicas=replicas,
        routes=routes,
        slo=Slo(2.0, 0.15),
        workload=DemandSummary(name, rate_rps, lengths.prompt_tokens_mean, output),
        predicted=replace(bare.predicted, tpot_p50_s=TPOT_S, tpot_p99_s=2 * TPOT_S),
    )


def _alone(name: str, rate_rps: float, longest: int, random: np.random.Generator) -> Requests:
    """Requests of a trace's lengths that have nothing in common."""
    lengths = np.array(workload_named(name).lengths, dtype=np.float64)
    lengths = lengths[lengths.sum(axis=1) <= longest]
    drawn = lengths[random.integers(0, len(lengths), REQUESTS)]
    return Requests(arrival_times(REQUESTS, rate_rps, random=random), drawn[:, 0], drawn[:, 1])


def _conversations(rate_rps: float, random: np.random.Generator) -> tuple[Requests, Sequence[int]]:
    """Turns repeat all that was said, and come so long after one another; users read at different speeds."""
    lengths = np.array(workload_named("conversation").lengths, dtype=np.float64)
    count = REQUESTS // TURNS
    first = lengths[random.integers(0, len(lengths), count), 0].clip(max=2048)
    output = lengths[random.integers(0, len(lengths), (count, TURNS)), 1]
    said = np.concatenate([first[:, None], random.exponential(SAID_TOKENS, (count, TURNS - 1)).round() + 1], axis=1)
    prompt = said.cumsum(axis=1) + output.cumsum(axis=1) - output
    begins = arrival_times(count, rate_rps / TURNS, random=random)
    pauses = np.concatenate([np.zeros((count, 1)), THINKING_S + random.exponential(THINKING_S, (count, TURNS - 1))], 1)
    arrival = (begins[:, None] + pauses.cumsum(axis=1)).ravel()
    order = np.argsort(arrival, kind="stable")
    requests = Requests(arrival[order], prompt.ravel()[order], output.ravel()[order])
    return requests, np.repeat(np.arange(count), TURNS)[order].tolist()


def _world(name: str, plan: Plan, requests: Requests, sessions: Sequence[int]) -> World:
    members = members_of(plan, {})
    places = {member.replica.id: place for place, member in enumerate(members)}
    addresses = {one.id: ReplicaAddress(one.id, one.phase, "http://127.0.0.1") for one in plan.replicas}
    routes = Routes(1, plan.llm.name, tuple(replicas_of(plan, addresses)), tuple(shares_of(plan)))
    lanes = lanes_of(plan.llm, _paths(plan, {}), places)
    servers = tuple(server_of(member) for member in members)
    return World(name, servers, lanes, routes, requests, tuple(sessions), plan.slo)
