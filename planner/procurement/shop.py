"""Offers and groups as the arrays that procurement takes. Where the pair is still open, the best one is assumed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from planner.catalog import Link, Offer
from planner.costmodel.transfer import kv_transfer_s, kv_wire_bytes
from planner.deployment import Codec, Phase
from planner.links import AWS_BETWEEN_ZONES_USD_PER_GB, SAME_NETWORK_MS, SAME_REGION_MS, USABLE, Links, private_network
from planner.parallel.layouts import Capacities, Task
from planner.procurement.groups import Group, Options, options
from planner.procurement.purchase import Groups, Ints, Shop
from planner.requirements import refusal_of

PACKED_OR_NOT = (Codec.RAW, Codec.INT8, Codec.INT4)


@dataclass(frozen=True, slots=True)
class Choice:
    """Everything a purchase is chosen from: the offers, the groups worth forming on them, and both as arrays."""

    offers: tuple[Offer, ...]
    options: Options
    shop: Shop
    prefill: Groups
    decode: Groups
    mixed: Groups

    @property
    def serves(self) -> bool:
        """Can any of the groups serve, alone or together?"""
        return bool(len(self.mixed.gpus) or (len(self.prefill.gpus) and len(self.decode.gpus)))

    def of_offers(self, wanted: npt.NDArray[np.bool_]) -> "Choice":
        """The same offers, of which only these can be rented."""
        return replace(self, shop=replace(self.shop, available=np.where(wanted, self.shop.available, 0)))

    def without(self, *phases: Phase) -> "Choice":
        """The same offers without any group for these phases."""
        return self._with({phase.value: () for phase in phases})

    def without_pipelines(self) -> "Choice":
        """The same offers with groups of one stage only."""
        options = self.options
        every = {"prefill": options.prefill, "decode": options.decode, "mixed": options.mixed}
        return self._with({name: tuple(one for one in own if one.layout.pp == 1) for name, own in every.items()})

    def of_smallest(self) -> "Choice":
        """The same offers with the smallest group of each phase only."""
        options = self.options
        every = {"prefill": options.prefill, "decode": options.decode, "mixed": options.mixed}
        return self._with({name: _smallest(own) for name, own in every.items()})

    def _with(self, own: Mapping[str, tuple[Group, ...]]) -> "Choice":
        groups: dict[str, Any] = {name: _groups(one) for name, one in own.items()}
        options: dict[str, Any] = dict(own)
        return replace(self, **groups, options=replace(self.options, **options))


def choice_of(capacities: Capacities, offers: Sequence[Offer], *, links: Links, keep_all: bool = False) -> Choice:
    """The offers on which a group can be formed, alone or with others of their network, or all; with their groups."""
    offers = [offer for offer in offers if keep_all or not refusal_of(capacities.task.llm, offer)]
    every = options(capacities, offers)
    alone = {group.offer for group in (*every.prefill, *every.decode, *every.mixed)}
    copies: Counter[str] = Counter()
    for offer in offers:
        copies[private_network(offer)] += offer.available if offer.network else 0
    useful = [i for i, offer in enumerate(offers) if keep_all or i in alone or copies[private_network(offer)] > 1]
    kept = tuple(offers[i] for i in useful)
    places = {old: new for new, old in enumerate(useful)}
    chosen = Options(*(_moved(groups, places) for groups in (every.prefill, every.decode, every.mixed)))
    shop = _shop(capacities, kept, chosen, links)
    return Choice(kept, chosen, shop, *(_groups(groups) for groups in (chosen.prefill, chosen.decode, chosen.mixed)))


def _smallest(groups: Sequence[Group]) -> tuple[Group, ...]:
    least: dict[int, Group] = {}
    for group in groups:
        known = least.setdefault(group.offer, group)
        least[group.offer] = group if group.layout.gpus < known.layout.gpus else known
    return tuple(least.values())


def _moved(groups: Sequence[Group], places: dict[int, int]) -> tuple[Group, ...]:
    return tuple(Group(places[group.offer], group.layout, group.rps) for group in groups)


def _groups(groups: Sequence[Group]) -> Groups:
    return Groups(
        offer=np.array([group.offer for group in groups], dtype=np.int64),
        gpus=np.array([group.layout.gpus for group in groups], dtype=np.int64),
        rps=np.array([group.rps for group in groups], dtype=np.float64),
    )


def _shop(capacities: Capacities, offers: Sequence[Offer], groups: Options, links: Links) -> Shop:
    slower = [_slower(capacities, groups, i, *ways_out(offer, links)) for i, offer in enumerate(offers)]
    holds_both = [_holds_both(groups, i, offer) for i, offer in enumerate(offers)]
    return shop_of(capacities.task, capacities.codec, offers, links, holds_both=holds_both, slower=slower)


def shop_of(
    task: Task,
    codec: Codec | None,
    offers: Sequence[Offer],
    links: Links,
    *,
    holds_both: Sequence[bool],
    slower: Sequence[tuple[float, float]],
) -> Shop:
    """The offers as arrays; KV travels as small as it can."""
    smallest = float(kv_wire_bytes(task.llm, task.demand.prompt_mean, codec or Codec.INT4))
    wires = np.array([_bandwidths(offer, links) for offer in offers]).reshape(-1, 2)
    usd_per_hour_per_rps = smallest / 1e9 * 3600
    return Shop(
        usd_per_hour=np.array([offer.usd_per_hour for offer in offers]),
        gpus=np.array([offer.gpu_count for offer in offers], dtype=np.int64),
        available=np.array([offer.available for offer in offers], dtype=np.int64),
        network=_numbered([private_network(offer) for offer in offers]),
        machine=_numbered([f"{offer.provider} {offer.machine}" if offer.machine else "" for offer in offers]),
        holds_both=np.array(holds_both, dtype=np.bool_),
        slower=np.array(slower).reshape(-1, 2),
        wire_rps=wires * USABLE * 1e9 / 8 / smallest,
        out_usd_per_hour=usd_per_hour_per_rps * np.array([_out_usd_per_gb(offer) for offer in offers]),
        in_usd_per_hour=usd_per_hour_per_rps * np.array([_in_usd_per_gb(offer) for offer in offers]),
        availability=np.array([offer.availability for offer in offers]),
    )


def ways_out(offer: Offer, links: Links) -> tuple[Link, Link]:
    """The best link that KV can leave an instance by: in its network, and into the world.

    It may go to many instances at once, of which each is at no end of a faster link than this way, and unpacks little.
    """
    flow, codec = _bandwidths(offer, links)[0], 2 * offer.codec_gb_per_s
    stated = [link.latency_ms for (source, _), link in links.items() if source == offer.offer_id]
    network_ms, world_ms = (min([latency_ms, *stated]) for latency_ms in (SAME_NETWORK_MS, SAME_REGION_MS))
    return Link(flow, network_ms, codec_gb_per_s=codec), Link(flow, world_ms, codec_gb_per_s=codec)


def _holds_both(groups: Options, index: int, offer: Offer) -> bool:
    least = [
        min((group.layout.gpus for group in phase if group.offer == index), default=offer.gpu_count)
        for phase in (groups.prefill, groups.decode)
    ]
    return sum(least) <= offer.gpu_count


def _bandwidths(offer: Offer, links: Links) -> tuple[float, float]:
    """Gbit/s out and in: the offer's own, or the best that a stated link gives."""
    out = [link.bandwidth_gbit_per_s for (source, _), link in links.items() if source == offer.offer_id]
    into = [link.bandwidth_gbit_per_s for (_, target), link in links.items() if target == offer.offer_id]
    return max([offer.inet_up_gbit_per_s, *out]), max([offer.inet_down_gbit_per_s, *into])


def _slower(capacities: Capacities, groups: Options, offer: int, network: Link, world: Link) -> tuple[float, float]:
    """How much a prefill group of the offer loses, at least, when its KV leaves over the network or the world."""
    own = [group for group in groups.prefill if group.offer == offer]
    return _least_loss(capacities, own, network), _least_loss(capacities, own, world)


def _least_loss(capacities: Capacities, groups: Sequence[Group], link: Link) -> float:
    sent = capacities.codec or min(PACKED_OR_NOT, key=lambda codec: _hop_s(capacities, link, codec))
    rates = ((group.rps, capacities.prefill_rps(group.layout, link, sent)) for group in groups)
    return min((inside / outside for inside, outside in rates if outside > 0), default=np.inf)


def _hop_s(capacities: Capacities, link: Link, codec: Codec) -> float:
    return float(kv_transfer_s(link, capacities.task.demand.prompt_mean, capacities.task.llm, codec))


def _out_usd_per_gb(offer: Offer) -> float:
    cheapest = AWS_BETWEEN_ZONES_USD_PER_GB if offer.provider == "aws" else offer.egress_usd_per_gb
    return min(cheapest, offer.egress_usd_per_gb)


def _in_usd_per_gb(offer: Offer) -> float:
    return 0.0 if offer.provider == "aws" else offer.ingress_usd_per_gb


def _numbered(names: Sequence[str]) -> Ints:
    """A number for each distinct name, -1 for no name."""
    known = {name: i for i, name in enumerate(dict.fromkeys(filter(None, names)))}
    return np.array([known.get(name, -1) for name in names], dtype=np.int64)
