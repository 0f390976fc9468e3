"""What may be rented, as the search sees it: offers that are alike, their GPUs, and the links between their copies."""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from math import prod

from planner.catalog import Link, Offer
from planner.deployment import Instance
from planner.links import Links, link_between, private_network
from planner.llm import LlmSpec
from planner.procurement.groups import kind_of
from planner.procurement.placing import instance_of
from planner.procurement.procure import MOST_INSTANCES

LOCAL = "local"


class Supply:
    """The offers of one search. Nothing in it changes.

    `alike[i]` is the first offer that differs from offer i in name and number of copies at most.
    """

    def __init__(self, offers: Sequence[Offer], llm: LlmSpec, *, links: Links, rent_all: bool = False) -> None:
        self.offers = tuple(offers)
        self.rent_all = rent_all
        self.stated = links
        self.kinds = tuple(map(kind_of, offers))
        self.gpus = tuple(offer.gpu_count for offer in offers)
        self.usd_per_hour = tuple(offer.usd_per_hour for offer in offers)
        self._llm = llm
        self._links: dict[tuple[int, int], Link] = {}

    @cached_property
    def alike(self) -> tuple[int, ...]:
        named = {end for pair in self.stated for end in pair}
        on_machine = Counter(self._machine(i) for i in range(len(self.offers)))
        first: dict[tuple[object, ...], int] = {}
        return tuple(
            first.setdefault(self._looks(i, named=offer.offer_id in named, shared=on_machine[self._machine(i)] > 1), i)
            for i, offer in enumerate(self.offers)
        )

    @cached_property
    def everything(self) -> tuple[int, ...]:
        """All copies of all offers."""
        return tuple(i for i, offer in enumerate(self.offers) for _ in range(offer.available))

    def risk(self, offers: Sequence[int]) -> float:
        """Part of the time that not all instances of these offers are up. A given fleet has no choice: 0."""
        return 0.0 if self.rent_all else 1 - prod(self.offers[i].availability for i in offers)

    def instance(self, offer: int, name: str) -> Instance:
        return instance_of(self.offers[offer], name, self._llm)

    def link(self, source: int, target: int) -> Link:
        """Between two instances of these offers (or of two copies of one)."""
        if (source, target) not in self._links:
            ends = self.instance(source, "source"), self.instance(target, "target")
            self._links[source, target] = link_between(*ends, self.stated)
        return self._links[source, target]

    def joined(self, offers: Sequence[int]) -> bool:
        """May one replica span instances of these offers? Slots of this host share its cores: it would gain nothing."""
        if len(offers) == 1:
            return True
        networks = {private_network(self.offers[i]) for i in offers}
        return len(networks) == 1 and networks != {""} and all(self.offers[i].provider != LOCAL for i in offers)

    def allows(self, rented: Sequence[int]) -> bool:
        """Are there so many copies, and is no machine rented twice?"""
        if self.rent_all:
            return True
        copies = Counter(rented)
        if len(rented) > MOST_INSTANCES or any(n > self.offers[i].available for i, n in copies.items()):
            return False
        used: Counter[str] = Counter()
        for i, n in copies.items():
            if machine := self._machine(i):
                used[machine] += n * self.gpus[i]
        return all(gpus <= self._machine_gpus[machine] for machine, gpus in used.items())

    @cached_property
    def _machine_gpus(self) -> dict[str, int]:
        """Of each machine with more than one offer: the largest of them; of others all copies."""
        offers: dict[str, list[int]] = {}
        for i in range(len(self.offers)):
            offers.setdefault(self._machine(i), []).append(i)
        return {
            machine: max(self.gpus[i] for i in own)
            if len(own) > 1
            else self.gpus[own[0]] * self.offers[own[0]].available
            for machine, own in offers.items()
        }

    def _machine(self, offer: int) -> str:
        one = self.offers[offer]
        return f"{one.provider} {one.machine}" if one.machine else ""

    def _looks(self, i: int, *, named: bool, shared: bool) -> tuple[object, ...]:
        offer = self.offers[i]
        alone = (offer.offer_id,) if named or (shared and offer.machine) else ()
        wires = (
            offer.inet_up_gbit_per_s,
            offer.inet_down_gbit_per_s,
            offer.handover_ms,
            offer.codec_gb_per_s,
            offer.router_ms,
        )
        prices = offer.usd_per_hour, offer.egress_usd_per_gb, offer.ingress_usd_per_gb
        place = offer.provider, offer.region, offer.network, offer.availability, offer.leasable
        return (self.kinds[i], offer.gpu_count, *prices, *wires, *place, *alone)
