"""A purchase made concrete: instances, and on each the replicas with their GPUs and layers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil

from planner.catalog import Offer
from planner.deployment import Instance, Phase, Replica, Stage
from planner.llm import LlmSpec
from planner.members import Member
from planner.parallel.layouts import Layout
from planner.procurement.groups import Group, Options
from planner.procurement.purchase import Ints, Purchase

DISK_GB_BESIDE_WEIGHTS = 50
"""Operating system, engine environment and logs."""


@dataclass(slots=True)
class _Copy:
    """One copy of an offer, and the groups dealt to it so far."""

    offer: Offer
    dealt: list[tuple[Group, Phase]] = field(default_factory=list)

    @property
    def free(self) -> int:
        return self.offer.gpu_count - sum(group.layout.gpus for group, _ in self.dealt)


def placed(
    purchase: Purchase, options: Options, offers: Sequence[Offer], llm: LlmSpec
) -> tuple[list[Instance], list[Member]]:
    """The instances of a purchase and its replicas, all phases spread alike over the copies of an offer.

    A group that fits no copy whole is left out.
    """
    instances: list[Instance] = []
    members: list[Member] = []
    for copy in (copy for i, offer in enumerate(offers) for copy in _dealt(purchase, options, i, offer)):
        instance = instance_of(copy.offer, f"i{len(instances)}", llm)
        instances.append(instance)
        first = 0
        for group, phase in copy.dealt:
            replica = replica_of(f"r{len(members)}", phase, [instance.id], [first], group.layout)
            members.append(Member(replica, instance, group.layout))
            first += group.layout.gpus
    return instances, members


def instance_of(offer: Offer, name: str, llm: LlmSpec) -> Instance:
    return Instance(
        id=name,
        offer_id=offer.offer_id,
        provider=offer.provider,
        region=offer.region,
        gpu=offer.gpu.name,
        gpu_count=offer.gpu_count,
        gpu_memory_gib=offer.memory_gib,
        usd_per_hour=offer.usd_per_hour,
        interruptible=offer.interruptible,
        machine=offer.machine,
        network=offer.network,
        disk_gb=min(needed_disk_gb(llm), offer.disk_gb or float("inf")),
        leasable=offer.leasable,
        nvlink=offer.nvlink,
        inet_up_gbit_per_s=offer.inet_up_gbit_per_s,
        inet_down_gbit_per_s=offer.inet_down_gbit_per_s,
        egress_usd_per_gb=offer.egress_usd_per_gb,
        ingress_usd_per_gb=offer.ingress_usd_per_gb,
        handover_ms=offer.handover_ms,
        router_ms=offer.router_ms,
        codec_gb_per_s=offer.codec_gb_per_s,
        availability=offer.availability,
    )


def replica_of(name: str, phase: Phase, instances: Sequence[str], first_gpus: Sequence[int], layout: Layout) -> Replica:
    """A replica on consecutive GPUs of its instances, which are in the order of its group's shape."""
    free = list(first_gpus)
    stages = []
    for slot in layout.slots:
        first, free[slot.place] = free[slot.place], free[slot.place] + layout.tp
        stages.append(Stage(instances[slot.place], tuple(range(first, first + layout.tp)), slot.layers))
    return Replica(name, phase, tuple(stages))


def needed_disk_gb(llm: LlmSpec) -> float:
    return float(ceil(llm.weight_bytes / 1e9 + DISK_GB_BESIDE_WEIGHTS))


def _dealt(purchase: Purchase, options: Options, index: int, offer: Offer) -> list[_Copy]:
    """Groups of this offer, largest first, each to the copy with the most GPUs left."""
    copies = [_Copy(offer) for _ in range(purchase.copies[index])]
    groups = [
        *_chosen(purchase.prefill, options.prefill, index, Phase.PREFILL),
        *_chosen(purchase.decode, options.decode, index, Phase.DECODE),
        *_chosen(purchase.mixed, options.mixed, index, Phase.MIXED),
    ]
    for group, phase in sorted(groups, key=lambda dealt: -dealt[0].layout.gpus):
        roomiest = max(copies, key=lambda copy: copy.free, default=None)
        if roomiest and roomiest.free >= group.layout.gpus:
            roomiest.dealt.append((group, phase))
    return copies


def _chosen(counts: Ints, groups: Sequence[Group], index: int, phase: Phase) -> Iterator[tuple[Group, Phase]]:
    for times, group in zip(counts.tolist(), groups, strict=True):
        if group.offer == index:
            yield from [(group, phase)] * times
