"""One way to spend the budget, paired and simulated: what the recipes compare."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from planner.choosing.goodput import Trial, sustained_at
from planner.deployment import Instance
from planner.evaluate import Measures, Part
from planner.lanes import Path, lanes_of, server_of
from planner.links import Links
from planner.members import Member
from planner.orchestration.pairing import Pairing, pair
from planner.parallel.layouts import Capacities, Task
from planner.router import waited_s
from planner.simulation.scenario import Lane, Server


@dataclass(frozen=True, slots=True)
class Candidate:
    """Instances, the members on them, and how these are paired."""

    instances: tuple[Instance, ...]
    members: tuple[Member, ...]
    pairing: Pairing

    @property
    def usd_per_hour(self) -> float:
        """The instances' prices."""
        return sum(instance.usd_per_hour for instance in self.instances)

    @property
    def makeup(self) -> Hashable:
        """The same for fleets that are alike but for names and order, and carry as much."""
        offers = {instance.id: instance.offer_id for instance in self.instances}
        groups = [
            (one.phase, one.replica.tp, tuple((offers[stage.instance], stage.layers) for stage in one.replica.stages))
            for one in self.members
        ]
        return tuple(sorted(offers.values())), tuple(sorted(groups)), round(self.pairing.served_rps, 6)

    @property
    def mixes_types(self) -> bool:
        """Is any replica over GPUs of more than one type?"""
        return any(len({slot.kind.gpu.name for slot in member.layout.slots}) > 1 for member in self.members)

    @property
    def is_split(self) -> bool:
        return any(hop for hop in self.pairing.hops)

    def most_rps(self, budget_usd_per_hour: float) -> float:
        """The rate whose transfer the wires carry and the rest of the budget pays for."""
        each = self.pairing.transfer_usd_per_hour_per_rps
        paid = (budget_usd_per_hour - self.usd_per_hour) / each if each > 0 else float("inf")
        return min(self.pairing.wire_rps, paid)


def candidate(
    capacities: Capacities,
    instances: Sequence[Instance],
    members: Sequence[Member],
    *,
    budget_usd_per_hour: float,
    links: Links,
    keep_all: bool = False,
) -> Candidate | None:
    """Pair the members; unless all is to be kept, give back what carries no traffic, and number the rest anew."""
    spare = budget_usd_per_hour - sum(instance.usd_per_hour for instance in instances)
    pairing = pair(capacities, members, transfer_usd_per_hour=spare, links=links)
    if pairing is None:
        return None
    used = [member for member in members if member.replica.id in pairing.in_use]
    busy = {instance.id for member in used for instance in member.instances}
    if keep_all or (len(used) == len(members) and len(busy) == len(instances)):
        return Candidate(tuple(instances), tuple(members), pairing)
    fewer = _renumbered(used)
    remaining = tuple({one.id: one for member in fewer for one in member.instances}.values())
    return candidate(capacities, remaining, fewer, budget_usd_per_hour=budget_usd_per_hour, links=links)


def _renumbered(members: Sequence[Member]) -> list[Member]:
    """The same replicas as i0, i1, … and r0, r1, …, each instance's GPUs counted from 0."""
    used = {instance.id: instance for member in members for instance in member.instances}
    named = {old: replace(instance, id=f"i{n}") for n, (old, instance) in enumerate(used.items())}
    taken = dict.fromkeys(used, 0)
    fresh = []
    for number, member in enumerate(members):
        fresh.append(member.moved(f"r{number}", named, taken))
        for stage in member.replica.stages:
            taken[stage.instance] += len(stage.gpus)
    return fresh


def trial(task: Task, chosen: Candidate, budget_usd_per_hour: float, *, seed: int) -> Trial:
    """Up to the rate that wires carry and the budget pays for."""
    expected, most = chosen.pairing.served_rps, chosen.most_rps(budget_usd_per_hour)
    return Trial(task.demand, task.slo, parts(task, chosen), expected, most, seed)


def simulated_goodput(task: Task, chosen: Candidate, budget_usd_per_hour: float, *, seed: int) -> float:
    """The highest rate at which simulated attainment stays at its target, that wires carry and the budget pays for."""
    return trial(task, chosen, budget_usd_per_hour, seed=seed).goodput_rps()


def simulated(task: Task, chosen: Candidate, rate_rps: float, *, seed: int) -> Measures:
    """What clients see at a rate once the fleet is full."""
    return sustained_at(rate_rps, task.demand, task.slo, parts(task, chosen), seed=seed).measures


def parts(task: Task, chosen: Candidate) -> list[Part]:
    """The fleet as the simulator takes it: replicas that exchange requests, or share a wire or a machine, are one part;
    equal ones are one. The largest come first, so that fleets that are alike meet the same requests."""
    pairing = chosen.pairing
    members = {member.replica.id: member for member in chosen.members}
    servers = [server_of(member) for member in chosen.members]
    places = {name: i for i, name in enumerate(members)}
    paths = [
        Path(route, hop, waited_s(members[route.prefill], members[route.decode]))
        for route, hop in zip(pairing.routes, pairing.hops, strict=True)
        if route.share > 0
    ]
    alike: dict[tuple[tuple[Server, ...], tuple[Lane, ...]], list[float]] = {}
    for lanes in _connected(lanes_of(task.llm, paths, places), servers):
        share = sum(lane.share for lane in lanes)
        alike.setdefault(_alone(lanes, servers, share), []).append(share)
    found = [Part(*kind, sum(shares) / len(shares), len(shares)) for kind, shares in alike.items()]
    return sorted(found, key=lambda part: (-part.share, -part.copies, [server.kv_tokens for server in part.servers]))


def _connected(lanes: Sequence[Lane], servers: Sequence[Server]) -> list[list[Lane]]:
    """Lanes in groups that meet on a server, a wire or a shared machine, in order of their first."""
    group: dict[int | str, list[Lane]] = {}
    for lane in lanes:
        ends: list[int | str] = [lane.prefill, lane.decode, *(wire.name for wire in lane.wires)]
        ends += [host for host in (servers[lane.prefill].host, servers[lane.decode].host) if host]
        met = {id(group[end]): group[end] for end in ends if end in group}
        joined = [*(other for one in met.values() for other in one), lane]
        group.update(dict.fromkeys(ends, joined))
        group.update((end, joined) for end, one in group.items() if id(one) in met)
    order = {id(lane): i for i, lane in enumerate(lanes)}
    return [sorted(one, key=lambda lane: order[id(lane)]) for one in {id(one): one for one in group.values()}.values()]


def _alone(
    lanes: Sequence[Lane], servers: Sequence[Server], share: float
) -> tuple[tuple[Server, ...], tuple[Lane, ...]]:
    """The lanes as if there were no others: servers and wires numbered anew, their shares summing to 1."""
    places = {
        end: i for i, end in enumerate(dict.fromkeys(end for lane in lanes for end in (lane.prefill, lane.decode)))
    }
    names = {name: str(i) for i, name in enumerate(dict.fromkeys(wire.name for lane in lanes for wire in lane.wires))}
    own = tuple(
        replace(
            lane,
            prefill=places[lane.prefill],
            decode=places[lane.decode],
            share=round(lane.share / share, 6),
            wires=tuple(replace(wire, name=names[wire.name]) for wire in lane.wires),
        )
        for lane in lanes
    )
    return tuple(servers[end] for end in places), own
