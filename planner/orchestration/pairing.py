"""Replicas on instances → who hands what to whom: the hops between them, and orchestration over them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from typing import TypeAlias

import numpy as np

from planner.catalog import Link
from planner.costmodel.transfer import kv_transfer_s, kv_wire_bytes
from planner.deployment import Codec, Phase, Replica, Route
from planner.links import INSIDE, USABLE, Links, into_gbit_per_s, out_gbit_per_s
from planner.members import Member
from planner.orchestration.balance import balanced_flow
from planner.orchestration.flow import Floats, Flow, Transport
from planner.orchestration.quick import most_flow
from planner.orchestration.strands import Hop, Strand, entering, leaving, link_along, strands
from planner.parallel.layouts import Capacities, Task, best_codec

LEAST_SHARE = 1e-4
"""Routes with less than this of the traffic are left out."""
FULL = 0.99
"""Part of what wires carry at which they count as full."""
BALANCED = 0.999
"""Part of the most flow that is balanced, so that rounding cannot make it infeasible."""

Wire: TypeAlias = tuple[str, object]
"""What tells wires apart."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """Replicas with their capacities, and routes; what they serve, what the wires carry, and what moving costs."""

    replicas: tuple[Replica, ...]
    routes: tuple[Route, ...]
    hops: tuple[Hop | None, ...]
    served_rps: float
    wire_rps: float
    transfer_usd_per_hour_per_rps: float
    kv_gb_per_request: float

    @property
    def in_use(self) -> frozenset[str]:
        """The replicas that some route uses."""
        return frozenset(end for route in self.routes for end in (route.prefill, route.decode))


def pair(
    capacities: Capacities, members: Sequence[Member], *, transfer_usd_per_hour: float, links: Links
) -> Pairing | None:
    """The pairing that serves the most, its load spread evenly; None where nothing can be served.

    Each hop takes the codec that suits it alone; where that fills the wires, packing all that leaves an instance is
    tried as well.
    """
    found = _paired(capacities, members, transfer_usd_per_hour, links, best_codec)
    if found and found.served_rps < found.wire_rps * FULL:
        return found
    packed = _paired(capacities, members, transfer_usd_per_hour, links, packed_codec)
    return max((one for one in (found, packed) if one), key=lambda one: one.served_rps, default=None)


def packed_codec(_: Task, link: Link) -> Codec:
    """As small as it gets on the network; half as large inside an instance."""
    return Codec.INT8 if link is INSIDE else Codec.INT4


def _paired(
    capacities: Capacities,
    members: Sequence[Member],
    transfer_usd_per_hour: float,
    links: Links,
    codec_for: Callable[[Task, Link], Codec],
) -> Pairing | None:
    prefilling = [member for member in members if member.phase is Phase.PREFILL]
    serving = [member for member in members if member.phase is not Phase.PREFILL]
    if not serving:
        return None
    hops, transport = transport_of(capacities, prefilling, serving, links, transfer_usd_per_hour, codec_for)
    most = _alone(transport) if not prefilling else most_flow(transport)
    if most.served_rps <= 0:
        return None
    flow = most if not prefilling else balanced_flow(transport, most.served_rps * BALANCED)
    found = _routes(prefilling, serving, hops, flow)
    return _pairing(capacities, members, found, transport, flow, most.served_rps)


def transport_of(
    capacities: Capacities,
    prefilling: Sequence[Member],
    serving: Sequence[Member],
    links: Links,
    transfer_usd_per_hour: float,
    codec_for: Callable[[Task, Link], Codec],
) -> tuple[list[list[Hop]], Transport]:
    """The hop of every pair, and the transportation problem over them."""
    codec = cache(lambda link: capacities.codec or codec_for(capacities.task, link))
    between = [[strands(p, s, links) for s in serving] for p in prefilling]
    along = [[link_along(found, links) for found in row] for row in between]
    hops = [
        [Hop(link, codec(link), found) for link, found in zip(*both, strict=True)]
        for both in zip(along, between, strict=True)
    ]
    return hops, _transport(capacities, prefilling, serving, hops, links, transfer_usd_per_hour)


def _transport(
    capacities: Capacities,
    prefilling: Sequence[Member],
    serving: Sequence[Member],
    hops: Sequence[Sequence[Hop]],
    links: Links,
    transfer_usd_per_hour: float,
) -> Transport:
    llm, prompt = capacities.task.llm, capacities.task.demand.prompt_mean
    shape = (len(prefilling), len(serving))
    use, seconds, gbit, usd = (np.zeros(shape) for _ in range(4))
    for i, member in enumerate(prefilling):
        for j, hop in enumerate(hops[i]):
            use[i, j] = _per_request_s(capacities.prefill_rps(member.layout, hop.link, hop.codec))
            seconds[i, j] = kv_transfer_s(hop.link, prompt, llm, hop.codec)
            wire_bytes = float(kv_wire_bytes(llm, prompt, hop.codec))
            gbit[i, j] = wire_bytes * 8 / 1e9
            usd[i, j] = wire_bytes / 1e9 * 3600 * hop.link.usd_per_gb
    wires = _wires(hops, shape, links)
    parts = np.array([carried for carried, _ in wires]).reshape(len(wires), *shape)
    return Transport(
        prefill_use=use,
        decode_use=np.array([_per_request_s(_rps(capacities, member, Phase.DECODE)) for member in serving]),
        local_use=np.array([_per_request_s(_rps(capacities, member, Phase.MIXED)) for member in serving]),
        hop_s=seconds,
        wire_gbit=parts * gbit,
        wire_gbit_per_s=np.array([capacity for _, capacity in wires]),
        usd_per_hour=usd,
        budget_usd_per_hour=max(0.0, transfer_usd_per_hour),
    )


def _wires(hops: Sequence[Sequence[Hop]], shape: tuple[int, int], links: Links) -> list[tuple[Floats, float]]:
    """(the part of each pair's KV that it carries, Gbit/s): each instance's way out and way in, each stated link
    between two instances, and each pair's own path inside one."""
    wires: dict[Wire, tuple[Floats, float]] = {}
    out, into = (cache(partial(width, stated=links)) for width in (out_gbit_per_s, into_gbit_per_s))

    def crossed(hop: Hop) -> Iterator[tuple[Wire, float, float]]:
        crossing = [strand for strand in hop.strands if strand.crosses]
        yield from ((("out", one.id), share, out(one)) for one, share in leaving(crossing))
        yield from ((("into", one.id), share, into(one)) for one, share in entering(crossing))
        for strand in crossing:
            yield from (
                (("link", ends), strand.share, link.bandwidth_gbit_per_s) for ends, link in _stated(strand, links)
            )
        if hop.inside:
            yield ("inside", id(hop)), hop.inside, INSIDE.bandwidth_gbit_per_s

    for i, j in np.ndindex(shape):
        for wire, share, gbit_per_s in crossed(hops[i][j]):
            carried, _ = wires.setdefault(wire, (np.zeros(shape), USABLE * gbit_per_s))
            carried[i, j] += share
    return list(wires.values())


def _stated(strand: Strand, links: Links) -> Iterator[tuple[tuple[str, str], Link]]:
    """The stated links between its instances, which have the names of these or of their offers."""
    sources, targets = (dict.fromkeys((one.id, one.offer_id)) for one in (strand.source, strand.target))
    return ((ends, links[ends]) for ends in product(sources, targets) if ends in links)


def _per_request_s(rps: float) -> float:
    return 1 / rps if rps > 0 else np.inf


def _alone(transport: Transport) -> Flow:
    """Without prefill replicas every replica serves what it can: there is nothing to choose."""
    possible = np.isfinite(transport.local_use)
    rates = np.where(possible, 1 / np.where(possible, transport.local_use, 1.0), 0.0)
    return Flow(np.zeros(transport.prefill_use.shape), rates)


def _routes(
    prefilling: Sequence[Member], serving: Sequence[Member], hops: Sequence[Sequence[Hop]], flow: Flow
) -> list[tuple[Route, Hop | None]]:
    """Every pair and replica that carries traffic worth naming; the shares sum to 1."""
    found: list[tuple[Route, Hop | None]] = []
    for i, source in enumerate(prefilling):
        for j, target in enumerate(serving):
            hop, share = hops[i][j], float(flow.pairs[i, j] / flow.served_rps)
            route = Route(source.replica.id, target.replica.id, share, hop.codec, hop.link.bandwidth_gbit_per_s)
            found.append((route, hop))
    for j, member in enumerate(serving):
        share = float(flow.local[j] / flow.served_rps)
        found.append((Route(member.replica.id, member.replica.id, share, Codec.LOCAL), None))
    kept = [(route, hop) for route, hop in found if route.share >= LEAST_SHARE]
    total = sum(route.share for route, _ in kept)
    return [(replace(route, share=route.share / total), hop) for route, hop in kept]


def _pairing(
    capacities: Capacities,
    members: Sequence[Member],
    found: Sequence[tuple[Route, Hop | None]],
    transport: Transport,
    flow: Flow,
    served_rps: float,
) -> Pairing:
    return Pairing(
        replicas=tuple(_rated(capacities, member) for member in members),
        routes=tuple(route for route, _ in found),
        hops=tuple(hop for _, hop in found),
        served_rps=served_rps,
        wire_rps=_wire_rps(transport, flow),
        transfer_usd_per_hour_per_rps=float((flow.pairs * transport.usd_per_hour).sum() / flow.served_rps),
        kv_gb_per_request=_kv_gb(capacities.task, [(route.share, hop) for route, hop in found]),
    )


def _wire_rps(transport: Transport, flow: Flow) -> float:
    """The rate at which the fullest wire would be full, the shares being as they are."""
    used = (transport.wire_gbit * flow.pairs / flow.served_rps).sum(axis=(1, 2))
    return float(np.min(transport.wire_gbit_per_s[used > 0] / used[used > 0], initial=np.inf))


def _rated(capacities: Capacities, member: Member) -> Replica:
    """The replica with its capacities."""
    rps = _rps(capacities, member, member.phase)
    return replace(member.replica, capacity_rps=rps, kv_capacity_tokens=member.layout.kv_tokens)


def _rps(capacities: Capacities, member: Member, phase: Phase) -> float:
    """What the replica serves in a phase; nothing if that is not its own."""
    return capacities.rps(member.layout, phase) if member.phase is phase else 0.0


def _kv_gb(task: Task, shares: Sequence[tuple[float, Hop | None]]) -> float:
    """Gigabytes that a mean request puts on the network between instances."""
    prompt = task.demand.prompt_mean
    crossing = ((share * hop.crossing, hop.codec) for share, hop in shares if hop)
    return sum(share * float(kv_wire_bytes(task.llm, prompt, codec)) for share, codec in crossing) / 1e9
