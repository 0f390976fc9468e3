"""What each host's engine does, measured through the router with nothing else to do, and fitted as `doctor` fits it."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean, median

from planner.catalog import GpuCalibration, GpuType
from planner.costmodel.calibrate import Handover, Row, fitted_to, prompt_s
from planner.costmodel.pace import Pace, pipeline_pace
from planner.deployment import Plan
from planner.gpus import gpu_named
from planner.llm import LlmSpec
from thunderctl.bench.load import Answer
from thunderctl.calibration.fleet import Fleet, Pair
from thunderctl.calibration.sweep import Measurer, Sweep
from thunderctl.world import World

SWEEP = Sweep(
    prompts=(32, 256, 1024),
    moved=(129, 513),
    steps=((1, 64), (4, 64), (8, 64), (1, 1024)),
    answer_tokens=32,
    repeats=3,
    shared_batch=1,
    shared_tokens=8,
    shared_prompt=32,
)
"""A few seconds a host. Engines of different hosts share no cores: how they would slow each other down is not asked."""
SEED, SHORT = 20261122, 64


@dataclass(frozen=True, slots=True)
class Speeds:
    """What was found: each instance's GPU type as it is there, what a KV transfer between instances takes beside its
    bytes, and by how much the fits miss what they were made from, at the mean.
    """

    gpus: Mapping[str, GpuType]
    handover: Handover
    fit_error: float

    def prompt_s(self, instance: str, llm: LlmSpec, tokens: int) -> float:
        """A prompt alone, by what was fitted."""
        return prompt_s(self._pace(instance, llm), tokens)

    def step_s(self, instance: str, llm: LlmSpec, sequences: int) -> float:
        """A decode step over short contexts, likewise."""
        return float(self._pace(instance, llm).decode_step_s(sequences, sequences * SHORT))

    @property
    def usual(self) -> GpuCalibration:
        """One for all of them, at the median: what a plan can say, since it knows types of GPUs and not machines."""
        found = [one for one in map(GpuCalibration.of, self.gpus.values()) if one]
        figures = [field.name for field in fields(GpuCalibration) if field.name != "gpu"]
        return GpuCalibration(found[0].gpu, **{name: median(getattr(one, name) for one in found) for name in figures})

    def _pace(self, instance: str, llm: LlmSpec) -> Pace:
        return pipeline_pace(llm, self.gpus[instance], 1, (llm.layers,), nvlink=False)


@dataclass(frozen=True, slots=True)
class Some:
    """A few replicas of a fleet, in this order, as what is measured."""

    fleet: Fleet
    replicas: Sequence[str]

    async def route(self, *pairs: Pair) -> None:
        await self.fleet.route(*pairs)

    async def ask(self, prompt: Sequence[int], tokens: int) -> Answer:
        return await self.fleet.ask(prompt, tokens)

    def sending_cpu_s(self) -> float:
        return 0.0


async def measured(world: World, plan: Plan, say: Callable[[str], None]) -> Speeds:
    """Every host by itself, while nobody is served, and KV transfers from the first to the second. Other routes are in
    force meanwhile, and afterwards.
    """
    fleet = Fleet(world, plan, plan.llm.name)
    found = {}
    for name in fleet.replicas:
        alone_or_pair = fleet.replicas[:2] if name == fleet.replicas[0] else (name,)
        some = Some(fleet, alone_or_pair)
        rows = await Measurer(some, SWEEP, lambda what, name=name: say(f"{name}: {what}"), random.Random(SEED)).rows()
        found[plan.replica(name).instances[0]] = [row for row in rows if row.engines == 1]
    return speeds_of(found, plan)


def speeds_of(found: Mapping[str, Sequence[Row]], plan: Plan) -> Speeds:
    """What the rows of each instance come to. It has its cores for itself, so no other engine slows it down."""
    known = gpu_named("CPU")
    fits = {name: fitted_to(rows, plan.llm, known, cores=1) for name, rows in found.items()}
    errors = [
        abs(predicted / row.seconds - 1)
        for name, fit in fits.items()
        for predicted, row in zip(fit.predicted_s, found[name], strict=True)
    ]
    handovers = [fit.handover for fit in fits.values() if fit.handover]
    typical = Handover(*(median(getattr(one, field.name) for one in handovers) for field in fields(Handover)))
    return Speeds({name: fit.gpu.applied(known) for name, fit in fits.items()}, typical, fmean(errors))
