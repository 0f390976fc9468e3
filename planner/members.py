"""A plan's replicas as the cost model reads them: where each runs, in which layout, and how fast that is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from planner.catalog import GpuType
from planner.deployment import Instance, Phase, Plan, Replica
from planner.gpus import gpu_of
from planner.links import Links, link_between
from planner.parallel.layouts import Between, GpuKind, Layout, Slot
from planner.parallel.shapes import layout_of


@dataclass(frozen=True, slots=True)
class Member:
    """A replica in its phase, the instance it runs on, and its layout there.

    Of one that spans several instances, `instance` is that of its first stage, and the `others` follow in the order of
    its stages. Each holds the KV of the layers of its own stages, and its agent sends and takes that.
    """

    replica: Replica
    instance: Instance
    layout: Layout
    others: tuple[Instance, ...] = ()

    @property
    def phase(self) -> Phase:
        return self.replica.phase

    @property
    def instances(self) -> tuple[Instance, ...]:
        """All that it runs on, in the order of its stages."""
        return (self.instance, *self.others)

    @property
    def held(self) -> tuple[tuple[Instance, int], ...]:
        """Where its layers and their KV are: the instance of each stage, and how many it holds."""
        named = {one.id: one for one in self.instances}
        return tuple((named[stage.instance], stage.layers) for stage in self.replica.stages)

    @property
    def gpus(self) -> dict[str, GpuType]:
        """The GPU types by the names that its instances have for them."""
        names = {one.id: one.gpu for one in self.instances}
        pairs = zip(self.replica.stages, self.layout.slots, strict=True)
        return {names[stage.instance]: slot.kind.gpu for stage, slot in pairs}

    def moved(self, name: str, instances: Mapping[str, Instance], first_gpus: Mapping[str, int]) -> "Member":
        """The same replica under another name; for each instance it was on, the one it goes to and its first GPU there.

        On each instance it takes consecutive GPUs.
        """
        taken = dict(first_gpus)
        stages = []
        for stage in self.replica.stages:
            first = taken[stage.instance]
            taken[stage.instance] += self.replica.tp
            gpus = tuple(range(first, first + self.replica.tp))
            stages.append(replace(stage, instance=instances[stage.instance].id, gpus=gpus))
        head, *others = (instances[instance.id] for instance in self.instances)
        return replace(
            self, replica=replace(self.replica, id=name, stages=tuple(stages)), instance=head, others=tuple(others)
        )


def members_of(plan: Plan, links: Links, gpus: Mapping[str, GpuType] | None = None) -> list[Member]:
    """The plan's replicas as they run, or as they would if `gpus` were as the types of their names are.

    `links` are those stated between instances or offers, the rest is estimated; stages of one replica meet over them.
    """
    found = []
    for replica in plan.replicas:
        head, *others = (plan.instance(name) for name in replica.instances)
        layout = _layout(plan, replica, (head, *others), gpus or {}, links)
        found.append(Member(replica, head, layout, tuple(others)))
    return found


def _layout(
    plan: Plan, replica: Replica, instances: tuple[Instance, ...], gpus: Mapping[str, GpuType], links: Links
) -> Layout:
    kinds = {one.id: _kind(one, gpus.get(one.gpu) or gpu_of(one.gpu, plan.calibrations)) for one in instances}
    places = {one.id: place for place, one in enumerate(instances)}
    slots = tuple(Slot(kinds[stage.instance], places[stage.instance], stage.layers) for stage in replica.stages)
    return layout_of(plan.llm, replica.tp, slots, between_instances(instances, links))


def between_instances(instances: tuple[Instance, ...], links: Links) -> Between:
    """The network between the instances of a replica; none where it is on one."""
    if len(instances) == 1:
        return None
    return tuple(tuple(link_between(a, b, links) for b in instances) for a in instances)


def _kind(instance: Instance, gpu: GpuType) -> GpuKind:
    return GpuKind(gpu, instance.gpu_memory_gib, instance.nvlink)
