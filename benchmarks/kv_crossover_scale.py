"""Where sending pays at the scale of GPUs, by the cost model alone: nothing here was measured."""

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.kv_crossover_tables import told
from planner.catalog import Link
from planner.costmodel.pace import Pace, pace
from planner.costmodel.transfer import kv_transfer_s, kv_wire_bytes
from planner.deployment import Codec
from planner.gpus import gpu_named
from planner.links import SAME_NETWORK_MS
from planner.models import llm_named

TOKENS = 1024
CODECS = (Codec.RAW, Codec.INT8, Codec.INT4)


@dataclass(frozen=True, slots=True)
class Place:
    """A replica: tensor-parallel on so many GPUs of one instance."""

    model: str
    gpu: str
    tp: int
    nvlink: bool = False

    @property
    def pace(self) -> Pace:
        return pace(llm_named(self.model), gpu_named(self.gpu), self.tp, 1, nvlink=self.nvlink)

    @property
    def prefill_s(self) -> float:
        return float(self.pace.prefill_s(float(TOKENS)))

    def wanted_gbit_per_s(self, codec: Codec) -> float:
        """What a prefill replica that is never idle sends."""
        return float(kv_wire_bytes(llm_named(self.model), float(TOKENS), codec)) * 8 / 1e9 / self.prefill_s

    def crossover_gbit_per_s(self, codec: Codec) -> float:
        """Above this rate the KV is there before such a replica, with nothing else to do, has computed the prompt."""
        llm = llm_named(self.model)
        fixed_s = float(self.pace.decode_step_s(1, float(TOKENS)))
        fixed_s += float(kv_transfer_s(Link(float("inf"), SAME_NETWORK_MS), float(TOKENS), llm, codec))
        wire_bits = float(kv_wire_bytes(llm, float(TOKENS), codec)) * 8
        return wire_bits / 1e9 / (self.prefill_s - fixed_s) if self.prefill_s > fixed_s else float("inf")


PLACES = (
    Place("llama-3.1-8b", "A100-SXM4-80GB", 1),
    Place("llama-3.1-8b", "H100-SXM5-80GB", 1),
    Place("llama-3.1-8b", "L40S", 1),
    Place("llama-3.1-8b", "RTX4090", 1),
    Place("llama-3.1-70b", "A100-SXM4-80GB", 4, nvlink=True),
    Place("llama-3.1-70b", "H100-SXM5-80GB", 4, nvlink=True),
    Place("llama-3.1-70b", "L40S", 8),
    Place("llama-3.1-70b", "RTX4090", 8),
    Place("qwen3-32b", "A100-SXM4-80GB", 2, nvlink=True),
    Place("qwen3-32b", "H100-SXM5-80GB", 2, nvlink=True),
    Place("qwen3-32b", "L40S", 4),
    Place("qwen3-32b", "RTX4090", 4),
    Place("llama-30b", "A100-SXM4-80GB", 2, nvlink=True),
    Place("llama-30b", "A40", 4),
)
FIRST_ESTIMATES = {PLACES[0]: 11.2, PLACES[2]: 14.2, PLACES[4]: 11.7, PLACES[12]: 61.0, PLACES[13]: 59.0}
"""Gbit/s of `raw` needed, as estimated when the relay was designed."""


def scale_section() -> Iterator[str]:
    yield from ("", "## At the scale of GPUs, modelled", "")
    yield from told(f"""By the cost model alone, for prompts of {TOKENS:,} tokens and replicas with nothing else to do;
        Gbit/s that a flow gets. Needed: what a prefill replica that is never idle sends; in brackets, where there is
        one, the estimate that the relay was designed by. Crossover: from this rate on the KV is there before such a
        replica has computed the prompt itself ({SAME_NETWORK_MS} ms of latency, packing and the first decode step
        counted).""")
    yield ""
    yield "| model, replica | prefill, tokens/s | needed: raw | int8 | int4 | crossover: raw | int8 | int4 |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for place in PLACES:
        wanted = [f"{place.wanted_gbit_per_s(codec):.1f}" for codec in CODECS]
        wanted[0] += f" ({FIRST_ESTIMATES[place]:g})" if place in FIRST_ESTIMATES else ""
        crossover = [f"{place.crossover_gbit_per_s(codec):.1f}" for codec in CODECS]
        name = f"{place.model}, {place.tp} x {place.gpu}"
        yield f"| {name} | {TOKENS / place.prefill_s:,.0f} | {' | '.join([*wanted, *crossover])} |"
    yield ""
    yield from told("""The estimates took the same part of every GPU's rated FLOP/s, 55 to 60 %, and no time between
        GPUs. In the tables that the cost model is fitted to A100s reach more, and 4 x A40 far less: without NVLink they
        wait for PCIe most of the time. int4 needs more than those estimates had, raw ÷ 3.56, as the first and last two
        layers travel as int8. A crossover lies above what is needed: one request waits for the whole transfer, the
        packing and the decode step, where many overlap. Packing on GPUs is a guess (`CODEC_GB_PER_S` in
        `planner/catalog.py`): no GPU was timed.""")
