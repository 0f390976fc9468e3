"""How the KV of a pair moves: in strands, from each instance that holds some of its layers to each that will.

A replica that spans instances has the KV of a layer on the instance of that layer's stage, and the agents of all of
them send and take at the same time. So a pair is as fast as its slowest strand, or as the narrowest way out of or into
an instance lets those that share it be; and where both ends hold layers on one instance, these don't leave it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, product

from planner.catalog import Link
from planner.deployment import Codec, Instance, Route
from planner.links import INSIDE, Links, into_gbit_per_s, link_between, out_gbit_per_s
from planner.members import Member


@dataclass(frozen=True, slots=True)
class Strand:
    """A share of a pair's KV, the instances that it goes from and to, and the link between them."""

    source: Instance
    target: Instance
    share: float
    link: Link

    @property
    def crosses(self) -> bool:
        """Over the network, or else within one instance: from GPU to GPU through host memory."""
        return self.source.id != self.target.id


@dataclass(frozen=True, slots=True)
class Hop:
    """How KV gets from one replica to another: in strands that together are as fast, and as dear, as `link`."""

    link: Link
    codec: Codec
    strands: tuple[Strand, ...]

    @property
    def crossing(self) -> float:
        """The share of the KV that the network carries."""
        return sum(strand.share for strand in self.strands if strand.crosses)

    @property
    def inside(self) -> float:
        """The largest share that moves within one instance."""
        return max((strand.share for strand in self.strands if not strand.crosses), default=0.0)


def strands(source: Member, target: Member, links: Links) -> tuple[Strand, ...]:
    """What each instance of a prefill replica hands to each of a decode replica; the shares sum to 1."""
    if not source.others and not target.others:
        return (Strand(source.instance, target.instance, 1.0, link_between(source.instance, target.instance, links)),)
    return tuple(Strand(a, b, share, link_between(a, b, links)) for a, b, share in shares(source.held, target.held))


def shares(
    source: Sequence[tuple[Instance, int]], target: Sequence[tuple[Instance, int]]
) -> list[tuple[Instance, Instance, float]]:
    """Of the KV, by the instances that have it and will: both ends say how many layers in a row each instance holds."""
    both: dict[tuple[str, str], tuple[Instance, Instance, int]] = {}
    for (a, first_a, end_a), (b, first_b, end_b) in product(_spans(source), _spans(target)):
        overlap = min(end_a, end_b) - max(first_a, first_b)
        if overlap > 0:
            *_, layers = both.get((a.id, b.id), (a, b, 0))
            both[a.id, b.id] = a, b, layers + overlap
    whole = sum(layers for *_, layers in both.values())
    return [(a, b, layers / whole) for a, b, layers in both.values()]


def link_along(found: Sequence[Strand], links: Links) -> Link:
    """One link that takes as long, and costs as much, for all KV as these strands at once for their shares of it.

    Each instance packs, or unpacks, the layers that it holds.
    """
    if len(found) == 1:
        return found[0].link
    crossing = [strand for strand in found if strand.crosses]
    widths = [strand.link.bandwidth_gbit_per_s / strand.share for strand in found]
    widths += [out_gbit_per_s(one, links) / share for one, share in leaving(crossing)]
    widths += [into_gbit_per_s(one, links) / share for one, share in entering(crossing)]
    packing = max(share / one.codec_gb_per_s for one, share in leaving(found))
    unpacking = max(share / one.codec_gb_per_s for one, share in entering(found))
    return Link(
        bandwidth_gbit_per_s=min(widths),
        latency_ms=max(strand.link.latency_ms for strand in found),
        usd_per_gb=sum(strand.share * strand.link.usd_per_gb for strand in found),
        estimated=any(strand.link.estimated for strand in crossing),
        codec_gb_per_s=2 / (packing + unpacking),
    )


def leaving(found: Iterable[Strand]) -> list[tuple[Instance, float]]:
    """The instances that these strands start from, and the share of the KV that each sends."""
    return _summed((strand.source, strand.share) for strand in found)


def entering(found: Iterable[Strand]) -> list[tuple[Instance, float]]:
    """The instances that they end at, and the share that each takes."""
    return _summed((strand.target, strand.share) for strand in found)


def planned_hop(route: Route, source: Member, target: Member, links: Links) -> Hop | None:
    """The hop of a plan's route, as wide as the route states; None where nothing is moved."""
    if route.codec is Codec.LOCAL:
        return None
    found = strands(source, target, links)
    link = link_along(found, links)
    if link is INSIDE or not route.bandwidth_gbit_per_s:
        return Hop(link, route.codec, found)
    wider = route.bandwidth_gbit_per_s / link.bandwidth_gbit_per_s
    scaled = (replace(one, link=_scaled(one.link, wider)) if one.crosses else one for one in found)
    return Hop(_scaled(link, wider), route.codec, tuple(scaled))


def _spans(held: Sequence[tuple[Instance, int]]) -> list[tuple[Instance, int, int]]:
    """Each instance with the first layer that it holds in a row, and the one after its last."""
    ends = accumulate(layers for _, layers in held)
    return [(one, end - layers, end) for (one, layers), end in zip(held, ends, strict=True)]


def _summed(parts: Iterable[tuple[Instance, float]]) -> list[tuple[Instance, float]]:
    found: dict[str, tuple[Instance, float]] = {}
    for one, share in parts:
        found[one.id] = one, found.get(one.id, (one, 0.0))[1] + share
    return list(found.values())


def _scaled(link: Link, times: float) -> Link:
    return replace(link, bandwidth_gbit_per_s=link.bandwidth_gbit_per_s * times)
