"""The sweep, against a fleet that answers as a known machine would: its coefficients are found again."""

import random
from dataclasses import dataclass, field, replace

import pytest

from planner.catalog import GpuCalibration
from planner.costmodel.calibrate import Handover, fitted_to, prompt_s
from planner.costmodel.pace import pipeline_pace
from planner.costmodel.transfer import kv_transfer_s
from planner.deployment import Codec
from planner.errors import HostError
from planner.gpus import gpu_named
from planner.models import llm_named
from thunderctl.bench.load import Answer
from thunderctl.calibration.sweep import Measurer, Sweep

LLM = replace(llm_named("llama-3.2-1b"), layers=8, hidden=256, intermediate=512, heads=4, kv_heads=2, head_dim=64)
MACHINE = GpuCalibration(
    "CPU", 0.5, 7.0, 1.2, step_s=3e-3, sequence_s=2e-4, prompt_s=6e-3, host_share=0.6, stream_s=2e-4
)
BETWEEN = Handover(handover_ms=25.0, bandwidth_gbit_per_s=0.9, codec_gb_per_s=0.3)
CORES = 2
OWN = pipeline_pace(LLM, MACHINE.applied(gpu_named("CPU")), 1, (LLM.layers,), nvlink=False)


@dataclass
class MadeFleet:
    """Answers by formula. Requests that are asked for together are those asked for before the first one is answered."""

    replicas: tuple[str, ...]
    routes: tuple[tuple[str, str, Codec], ...] = ()
    known: set[tuple[int, ...]] = field(default_factory=set)
    together: int = 0
    sent: int = 0

    def sending_cpu_s(self) -> float:
        return self.sent * CORES * MACHINE.stream_s

    async def route(self, *pairs: tuple[str, str, Codec]) -> None:
        self.routes = pairs

    async def ask(self, prompt: list[int], tokens: int) -> Answer:
        import asyncio

        self.together += 1
        self.sent += tokens
        await asyncio.sleep(0)  # the others ask
        count = self.together
        await asyncio.sleep(0)
        self.together -= 1
        prefill, decode, codec = self.routes[0]
        cached = tuple(prompt) in self.known
        self.known.add(tuple(prompt))
        engines = len(self.routes)
        stretch = max(1.0, MACHINE.host_share * engines)
        batch = count / engines
        first_s = stretch * prompt_s(OWN, 1 if cached else len(prompt))
        if prefill != decode:
            first_s += float(OWN.decode_step_s(1, len(prompt)) + kv_transfer_s(BETWEEN.link, len(prompt), LLM, codec))
        held = len(prompt) + tokens // 2
        alone_s = float(OWN.decode_step_s(batch, batch * held))
        step_s = max(alone_s, engines * (MACHINE.host_share * alone_s + MACHINE.stream_s * batch))
        return Answer(first_s, first_s + step_s * (tokens - 1), tokens)


async def measured(engines: int):
    said = []
    fleet = MadeFleet(tuple(f"r{i}" for i in range(engines)))
    rows = await Measurer(fleet, Sweep(repeats=1), said.append, random.Random(1)).rows()
    return rows, said


async def test_a_sweep_finds_the_machine_that_made_its_rows():
    rows, said = await measured(3)
    found = fitted_to(rows, LLM, gpu_named("CPU"), cores=CORES)
    assert found.gpu.gemm_share == pytest.approx(MACHINE.gemm_share, rel=0.03)
    assert found.gpu.step_s == pytest.approx(MACHINE.step_s, rel=0.1)
    assert found.gpu.host_share == pytest.approx(0.6, rel=0.03)
    assert found.gpu.stream_s == pytest.approx(2e-4)
    assert found.handover.handover_ms == pytest.approx(25.0, rel=0.05)
    assert found.predicted_s == pytest.approx([row.seconds for row in rows], rel=0.05)
    assert said == [
        *("warming up", "prompts alone", "KV transfers", "decode steps"),
        *("1 engine at once", "2 engines at once", "3 engines at once"),
    ]


async def test_the_first_transfer_over_a_route_is_not_counted():
    """It is slow for reasons of its own: agents dial, and codecs are compiled."""
    routes_used = set()

    class SlowAtFirst(MadeFleet):
        async def ask(self, prompt, tokens):
            answer = await super().ask(prompt, tokens)
            late_s = 0.0 if self.routes[0] in routes_used else 5.0
            routes_used.add(self.routes[0])
            return replace(answer, first_s=answer.first_s + late_s, last_s=answer.last_s + late_s)

    rows = await Measurer(SlowAtFirst(("r0", "r1")), Sweep(repeats=1), lambda _: None, random.Random(1)).rows()
    moved = [row for row in rows if row.is_transfer]
    assert {row.codec for row in moved} == {Codec.RAW, Codec.INT8, Codec.INT4}
    assert max(row.seconds for row in moved) < 5.0


async def test_one_engine_alone_is_measured_without_transfers_or_company():
    rows, said = await measured(1)
    assert said == ["warming up", "prompts alone", "decode steps"]
    assert {row.engines for row in rows} == {1}
    assert not any(row.is_transfer for row in rows)


async def test_a_host_too_busy_to_be_measured_is_said_to_be():
    class Starved(MadeFleet):
        """Its answers have all come by the time that somebody looks."""

        async def ask(self, prompt, tokens):
            answer = await super().ask(prompt, tokens)
            return replace(answer, first_s=answer.last_s)

    with pytest.raises(HostError, match="in one piece"):
        await Measurer(Starved(("r0",)), Sweep(repeats=1), lambda _: None, random.Random(1)).rows()
