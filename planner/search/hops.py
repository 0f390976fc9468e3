"""What one request's KV takes from one replica to another: the prefill replica's time, gigabits on wires, and money."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from planner.catalog import Link
from planner.costmodel.transfer import kv_wire_bytes
from planner.deployment import Codec, Instance
from planner.links import USABLE, into_gbit_per_s, link_between, out_gbit_per_s
from planner.orchestration.pairing import packed_codec
from planner.orchestration.strands import Hop, Strand, entering, leaving, link_along, shares
from planner.parallel.layouts import Capacities, Task
from planner.search.rating import Rated
from planner.search.supply import Supply

CodecChoice: TypeAlias = Callable[[Task, Link], Codec]
Loads: TypeAlias = tuple[tuple[int, float], ...]
"""(which of a replica's instances, the part of the KV that leaves or enters it over the network)."""
Shared: TypeAlias = tuple[tuple[int, int], ...]
"""(which instance of the prefill replica, which of the decode replica is the same)."""


@dataclass(frozen=True, slots=True)
class End:
    """A replica, and the offers of its instances, in the order of its shape."""

    rated: Rated
    offers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stated:
    """A stated link between all instances of two offers, what plans fill of it, and the part of the KV it carries."""

    ends: tuple[str, str]
    gbit_per_s: float
    share: float


@dataclass(frozen=True, slots=True)
class Taken:
    """Of 1 request/s: the part of the prefill replica's time, Gbit/s, and $/h; and which part of these Gbit/s goes
    where. `inside` is the largest that stays within one instance. With `packs` another codec makes them fewer."""

    use_s: float
    gbit: float
    usd_per_hour: float
    out: Loads
    into: Loads
    stated: tuple[Stated, ...]
    inside: float
    packs: bool


class Hops:
    """Hops between replicas on a supply, each worked out once. A wanted codec of the capacities is used on all."""

    def __init__(self, capacities: Capacities, supply: Supply, codec_for: CodecChoice) -> None:
        self.capacities = capacities
        self.supply = supply
        self.codec_for = codec_for
        self._codecs: dict[Link, Codec] = {}
        self._known: dict[tuple[End, End | int, Shared], Taken | None] = {}
        self._widths: dict[tuple[int, bool], float] = {}

    def of(self, source: End, target: End, shared: Shared) -> Taken | None:
        """From a prefill replica to a decode replica; None where KV comes too late to be of use."""
        key = (source, target if len(target.offers) > 1 else target.offers[0], shared)
        if key not in self._known:
            self._known[key] = self._taken(source, target, shared)
        return self._known[key]

    def out_gbit_per_s(self, offer: int) -> float:
        """What plans fill of an instance's way out: its own figure, or the best that a stated link gives."""
        return self._width(offer, out=True)

    def into_gbit_per_s(self, offer: int) -> float:
        return self._width(offer, out=False)

    def _taken(self, source: End, target: End, shared: Shared) -> Taken | None:
        sources, targets = self._instances(source, target, shared)
        held = (
            [(own[slot.place], slot.layers) for slot in end.rated.layout.slots]
            for end, own in ((source, sources), (target, targets))
        )
        stated = self.supply.stated
        found = tuple(Strand(a, b, share, link_between(a, b, stated)) for a, b, share in shares(*held))
        link = link_along(found, stated)
        hop = Hop(link, self._codec(link), found)
        rps = self.capacities.prefill_rps(source.rated.layout, link, hop.codec)
        if rps <= 0:
            return None
        task = self.capacities.task
        wire_bytes = float(kv_wire_bytes(task.llm, task.demand.prompt_mean, hop.codec))
        crossing = [strand for strand in found if strand.crosses]
        return Taken(
            use_s=1 / rps,
            gbit=wire_bytes * 8 / 1e9,
            usd_per_hour=wire_bytes / 1e9 * 3600 * link.usd_per_gb,
            out=_placed(leaving(crossing), sources),
            into=_placed(entering(crossing), targets),
            stated=tuple(self._stated(crossing)),
            inside=hop.inside,
            packs=self.capacities.codec is None and hop.codec is not packed_codec(task, link),
        )

    def _instances(self, source: End, target: End, shared: Shared) -> tuple[list[Instance], list[Instance]]:
        """Copies of the offers, of which those that are shared are the prefill replica's."""
        sources = [self.supply.instance(offer, f"source {i}") for i, offer in enumerate(source.offers)]
        targets = [self.supply.instance(offer, f"target {i}") for i, offer in enumerate(target.offers)]
        for here, there in shared:
            targets[there] = sources[here]
        return sources, targets

    def _codec(self, link: Link) -> Codec:
        if link not in self._codecs:
            self._codecs[link] = self.capacities.codec or self.codec_for(self.capacities.task, link)
        return self._codecs[link]

    def _stated(self, crossing: Iterable[Strand]) -> Iterator[Stated]:
        """All instances of two offers share the link that is stated between them."""
        parts: dict[tuple[str, str], float] = {}
        for strand in crossing:
            ends = strand.source.offer_id, strand.target.offer_id
            parts[ends] = parts.get(ends, 0.0) + strand.share
        for ends, share in parts.items():
            if link := self.supply.stated.get(ends):
                yield Stated(ends, USABLE * link.bandwidth_gbit_per_s, share)

    def _width(self, offer: int, *, out: bool) -> float:
        if (offer, out) not in self._widths:
            width = out_gbit_per_s if out else into_gbit_per_s
            self._widths[offer, out] = USABLE * width(self.supply.instance(offer, ""), self.supply.stated)
        return self._widths[offer, out]


def _placed(parts: Iterable[tuple[Instance, float]], instances: Sequence[Instance]) -> Loads:
    places = {one.id: i for i, one in enumerate(instances)}
    return tuple((places[one.id], share) for one, share in parts)
