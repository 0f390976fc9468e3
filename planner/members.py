"""A plan's replicas as the cost model reads them: where each runs, in which layout, and how fast that is."""

from dataclasses import dataclass

from planner.costmodel.pace import pace
from planner.deployment import Instance, Phase, Plan, Replica
from planner.gpus import gpu_of
from planner.memory import StageMemory, kv_capacity_tokens
from planner.parallel.layouts import GpuKind, Layout


@dataclass(frozen=True, slots=True)
class Member:
    """A replica in its phase, the instance it runs on, and its layout there."""

    replica: Replica
    instance: Instance
    layout: Layout

    @property
    def phase(self) -> Phase:
        return self.replica.phase


def members_of(plan: Plan) -> list[Member]:
    """The plan's replicas as they run; a replica is placed by its first instance."""
    return [Member(replica, plan.instance(replica.instances[0]), _layout(plan, replica)) for replica in plan.replicas]


def _layout(plan: Plan, replica: Replica) -> Layout:
    instance = plan.instance(replica.instances[0])
    kind = GpuKind(gpu_of(instance.gpu, plan.calibrations), instance.gpu_memory_gib, instance.nvlink)
    stages = [StageMemory(stage.layers, plan.instance(stage.instance).gpu_memory_gib) for stage in replica.stages]
    room = kv_capacity_tokens(plan.llm, replica.tp, stages)
    return Layout(
        kind, replica.tp, replica.pp, pace(plan.llm, kind.gpu, replica.tp, replica.pp, nvlink=kind.nvlink), room
    )
