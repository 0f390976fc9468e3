"""A fleet as an open queueing network, played by Ciw: queues, events and blocking are Ciw's, not our simulator's.

A replica is a queue of prompts with one server, and a room of requests that decode side by side, as many as its KV
holds; the hop of a split route is a delay. How long a pass takes is the cost model's answer for the batch that is in
the room when the pass begins. Nothing is modelled pass by pass: a prompt is served as one piece, and a decoding request
keeps the speed that it started with.
"""

from dataclasses import dataclass
from typing import Any

import ciw
import numpy as np

from planner.batching import MAX_SEQUENCES, TOKENS_PER_PASS
from planner.catalog import Link
from planner.costmodel.transfer import kv_transfer_s
from planner.deployment import Codec, Route
from planner.members import Member
from planner.parallel.task import Task

DOOR = 1
SETTLING = 0.2
"""First and last part of a run that are not scored."""
FEWEST, RUN_S = 3000, 120.0
HALVINGS = 7


@dataclass(frozen=True, slots=True)
class Fleet:
    """Replicas, and the routes over them."""

    task: Task
    members: tuple[Member, ...]
    routes: tuple[Route, ...]

    def place(self, name: str) -> int:
        return next(i for i, member in enumerate(self.members) if member.replica.id == name)


def goodput_rps(fleet: Fleet, expected_rps: float, *, seed: int) -> float:
    """The highest rate that meets the SLO often enough, between a fifth and twice of what is expected."""
    low, high = expected_rps / 5, expected_rps * 2
    for _ in range(HALVINGS):
        middle = float(np.sqrt(low * high))
        attained = attainment(fleet, middle, seed=seed) >= fleet.task.slo.attainment
        low, high = (middle, high) if attained else (low, middle)
    return low


def attainment(fleet: Fleet, rate_rps: float, *, seed: int) -> float:
    """The share of the requests of a run that meet both targets."""
    ciw.seed(seed)
    seconds = max(RUN_S, FEWEST / rate_rps)
    simulation = ciw.Simulation(_network(fleet, rate_rps, seed))
    simulation.simulate_until_max_time(seconds)
    scored = [one for node in simulation.nodes[DOOR:] for one in node.all_individuals]
    met = [_meets(fleet, one) for one in scored if SETTLING * seconds <= one.arrived_s <= (1 - SETTLING) * seconds]
    return float(np.mean(met)) if met else 0.0


def _network(fleet: Fleet, rate_rps: float, seed: int) -> Any:
    """Nodes: the door, a queue of prompts for each replica, the hops, and a room of decoding requests for each."""
    count, context = len(fleet.members), fleet.task.demand.context
    rooms = [int(min(MAX_SEQUENCES, member.layout.kv_tokens // context)) for member in fleet.members]
    routers = [_ToPrompts(fleet, seed), *(_ToHop() for _ in range(count)), _ToRoom(), *[ciw.routing.Leave()] * count]
    return ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(rate_rps), *[None] * (2 * count + 1)],
        service_distributions=[
            ciw.dists.Deterministic(0.0),
            *(_Prompt(fleet, i) for i in range(count)),
            _Hop(fleet),
            *(_Decode(fleet, i) for i in range(count)),
        ],
        number_of_servers=[float("inf"), *[1] * count, float("inf"), *rooms],
        routing=ciw.routing.NetworkRouting(routers=routers),
    )


class _ToPrompts(ciw.routing.NodeRouting):
    """Draws a request's lengths and its route."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self.fleet = fleet
        self.random = np.random.default_rng(seed)
        self.ends = [(fleet.place(route.prefill), fleet.place(route.decode), route) for route in fleet.routes]
        self.shares = np.array([route.share for route in fleet.routes])

    def next_node(self, individual: Any) -> Any:
        demand = self.fleet.task.demand
        drawn = int(self.random.integers(len(demand.prompt)))
        individual.arrived_s = self.simulation.current_time
        individual.prompt, individual.output = float(demand.prompt[drawn]), float(demand.output[drawn])
        route = int(self.random.choice(len(self.ends), p=self.shares / self.shares.sum()))
        individual.source, individual.target, individual.route = self.ends[route]
        return self.simulation.nodes[DOOR + 1 + individual.source]


class _ToHop(ciw.routing.NodeRouting):
    def next_node(self, individual: Any) -> Any:
        return self.simulation.nodes[_hop_node(self.simulation)]


class _ToRoom(ciw.routing.NodeRouting):
    def next_node(self, individual: Any) -> Any:
        return self.simulation.nodes[_hop_node(self.simulation) + 1 + individual.target]


class _Prompt(ciw.dists.Distribution):
    """Seconds that a prompt keeps its replica, beside the requests that decode there now."""

    def __init__(self, fleet: Fleet, place: int) -> None:
        self.fleet, self.place = fleet, place

    def sample(self, t: float | None = None, ind: Any = None) -> float:
        batch = len(_room(ind.simulation, self.place).all_individuals)
        return _prompt_s(self.fleet, self.place, ind.prompt, batch)


class _Hop(ciw.dists.Distribution):
    """Seconds until the KV is where it is needed; a replica that does both phases has it."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    def sample(self, t: float | None = None, ind: Any = None) -> float:
        if ind.route.codec is Codec.LOCAL:
            return 0.0
        link = Link(ind.route.bandwidth_gbit_per_s, 1.0)
        return float(kv_transfer_s(link, ind.prompt, self.fleet.task.llm, ind.route.codec))


class _Decode(ciw.dists.Distribution):
    """Seconds for the tokens after the first: steps of the batch, slowed by the prompts that the replica computes."""

    def __init__(self, fleet: Fleet, place: int) -> None:
        self.fleet, self.place = fleet, place

    def sample(self, t: float | None = None, ind: Any = None) -> float:
        pace, demand = self.fleet.members[self.place].layout.pace, self.fleet.task.demand
        batch = max(1, len(_room(ind.simulation, self.place).all_individuals))
        step = float(pace.decode_step_s(batch, batch * demand.context))
        busy = _busy(ind.simulation, self.place, t or 0.0)
        pieces = max(1.0, demand.prompt_mean / TOKENS_PER_PASS)
        turn = _prompt_s(self.fleet, self.place, demand.prompt_mean, batch) * pace.pp / pieces
        ind.decodes_from_s = t
        ind.tokens_per_s = (1 - busy) / step + busy / turn
        return max(0.0, ind.output - 1) / ind.tokens_per_s


def _prompt_s(fleet: Fleet, place: int, tokens: float, batch: int) -> float:
    pace, demand = fleet.members[place].layout.pace, fleet.task.demand
    pieces = max(1.0, tokens / TOKENS_PER_PASS)
    each = pace.pp / pieces
    return pieces * float(pace.turn_s(batch, batch * demand.context, tokens * each, tokens**2 * each)) / pace.pp


def _busy(simulation: Any, place: int, now: float) -> float:
    """Part of the time so far in which a replica computed prompts."""
    (server,) = simulation.nodes[DOOR + 1 + place].servers
    return min(0.99, float(server.busy_time) / now) if now > 0 else 0.0


def _room(simulation: Any, place: int) -> Any:
    return simulation.nodes[_hop_node(simulation) + 1 + place]


def _hop_node(simulation: Any) -> int:
    """Of the nodes 1 to 2 n + 2 the hops are n + 2."""
    return DOOR + 1 + (simulation.network.number_of_nodes - 2) // 2


def _meets(fleet: Fleet, one: Any) -> bool:
    """Its first token comes when it may decode; whatever has not come so far misses its targets."""
    slo = fleet.task.slo
    if not hasattr(one, "decodes_from_s"):
        return False
    return bool(one.decodes_from_s - one.arrived_s <= slo.ttft_s and 1 / one.tokens_per_s <= slo.tpot_s)
