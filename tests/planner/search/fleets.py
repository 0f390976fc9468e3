"""Fleets of small groups, and the plan that the paper publishes for coding."""

from collections.abc import Sequence
from dataclasses import replace

from planner.deployment import Codec, Instance, Phase, Plan, Replica, Route, Stage
from planner.gpus import gpu_named
from planner.models import llm_named
from planner.rebalancing.phase_program import PHASES
from planner.workload import Slo
from tests.planner.plans import split_plan

LAN_GBIT_PER_S = 10.0


def instance(name: str, gpu: str, count: int, gbit_per_s: float = LAN_GBIT_PER_S) -> Instance:
    """On the one network of the fleet, a dollar an hour."""
    kind = gpu_named(gpu)
    return Instance(
        id=name,
        offer_id=f"{gpu}-{name}",
        provider="vast",
        region="Earth",
        gpu=kind.name,
        gpu_count=count,
        gpu_memory_gib=kind.memory_gib,
        usd_per_hour=1.0,
        network="lan",
        inet_up_gbit_per_s=gbit_per_s,
        inet_down_gbit_per_s=gbit_per_s,
    )


def plan_of(
    fleet: Sequence[tuple[str, Sequence[int]]], phases: Sequence[int] = (), gbit_per_s: float = LAN_GBIT_PER_S
) -> Plan:
    """A plan of qwen3-8b: each instance's GPU and the TP degrees of its replicas; one prefills, the others decode."""
    instances, replicas = [], []
    for number, (gpu, degrees) in enumerate(fleet):
        instances.append(instance(f"i{number}", gpu, sum(degrees), gbit_per_s))
        for place, tp in enumerate(degrees):
            first = sum(degrees[:place])
            stage = Stage(f"i{number}", tuple(range(first, first + tp)), 36)
            phase = Phase.DECODE if replicas else Phase.PREFILL
            if phases:
                phase = PHASES[phases[len(replicas)]]
            replicas.append(Replica(f"r{len(replicas)}", phase, (stage,), 1.0, 8192))
    return replace(
        split_plan(),
        llm=llm_named("qwen3-8b"),
        dtype=llm_named("qwen3-8b").dtype,
        slo=Slo(ttft_s=4.0, tpot_s=0.1),
        max_model_len=8192,
        budget_usd_per_hour=99.0,
        instances=tuple(instances),
        replicas=tuple(replicas),
        routes=(),
        calibrations=(),
    )


def paper_coding_plan() -> Plan:
    """LLaMA-30B on 8 GPUs each of A40, A6000, A5000 and RTX 3090 Ti, an instance a type; 12 replicas."""
    llm = llm_named("llama-30b")
    names = {"a40": "A40", "a6000": "A6000", "a5000": "A5000", "ti": "RTX3090Ti"}
    instances = tuple(instance(name, gpu, 8) for name, gpu in names.items())
    half = llm.layers // 2

    def inside(name: str, first: int, tp: int, pp: int) -> tuple[Stage, ...]:
        starts = range(first, first + tp * pp, tp)
        return tuple(Stage(name, tuple(range(start, start + tp)), llm.layers // pp) for start in starts)

    def across(first: int) -> tuple[Stage, ...]:
        return tuple(Stage(name, (first, first + 1), half) for name in ("a5000", "ti"))

    prefill = [inside("a40", 2 * i, 2, 1) for i in range(4)]
    prefill += [inside("a5000", 0, 4, 1), *(inside("a6000", 2 * i, 2, 1) for i in range(2)), across(4)]
    decode = [inside("ti", 0, 2, 2), inside("a6000", 4, 1, 2), inside("a6000", 6, 1, 2), across(6)]
    phases = [Phase.PREFILL] * len(prefill) + [Phase.DECODE] * len(decode)
    replicas = tuple(
        Replica(f"r{i}", phase, stages, 1.0, 8192)
        for i, (phase, stages) in enumerate(zip(phases, [*prefill, *decode], strict=True))
    )
    routes = tuple(
        Route(f"r{i}", f"r{j}", 1 / (len(prefill) * len(decode)), Codec.INT4, LAN_GBIT_PER_S)
        for i in range(len(prefill))
        for j in range(len(prefill), len(phases))
    )
    return replace(
        split_plan(),
        llm=llm,
        dtype=llm.dtype,
        slo=Slo(ttft_s=10.0, tpot_s=0.2),
        max_model_len=8192,
        budget_usd_per_hour=14.0,
        instances=instances,
        replicas=replicas,
        routes=routes,
        calibrations=(),
    )
