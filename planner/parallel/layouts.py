"""The best TP x PP of a group of equal GPUs on one instance, for what it is to do.

Best is what serves the most requests/s within the SLO. For prefill that contains the paper's least latency, as a
replica that is too slow for TTFT serves none; for decode it is the paper's most throughput within TPOT.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from planner.catalog import GpuType, Link
from planner.costmodel.pace import Pace, pace
from planner.costmodel.transfer import kv_transfer_s
from planner.demand import Demand
from planner.deployment import Codec
from planner.links import INSIDE
from planner.llm import LlmSpec
from planner.memory import StageMemory, even_layers, kv_capacity_tokens
from planner.parallel.capacity import decode_rps, mixed_rps, prefill_rps
from planner.workload import Slo

MOST_STAGES = 8
NEED_BF16 = ("bfloat16", "mxfp4")
"""mxfp4 experts lie among bfloat16 weights."""
HOP_SHARE = 0.05
"""Part of TTFT that a transfer may take before a codec that packs is worth its loss."""


@dataclass(frozen=True, slots=True)
class GpuKind:
    """What tells the GPUs of one offer from another's, for a replica: type, usable memory, and NVLink or not."""

    gpu: GpuType
    memory_gib: float
    nvlink: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """TP x PP on GPUs of one kind, as it fits: its pace and the tokens of KV it has room for."""

    kind: GpuKind
    tp: int
    pp: int
    pace: Pace
    kv_tokens: int

    @property
    def gpus(self) -> int:
        return self.tp * self.pp


@dataclass(frozen=True)
class Task:
    """What replicas are for: the model, the demand in tokens, the SLO and the longest request admitted."""

    llm: LlmSpec
    demand: Demand
    slo: Slo
    max_model_len: int

    @cached_property
    def sample(self) -> Demand:
        """A thinner demand, for capacities."""
        return self.demand.thinned()


def layouts(task: Task, kind: GpuKind, gpus: int) -> Iterator[Layout]:
    """Every TP x PP that uses exactly `gpus` GPUs, divides the model's heads, and leaves room for one request."""
    if task.llm.dtype in NEED_BF16 and not kind.gpu.bf16:
        return
    for tp in _tensor_degrees(task.llm, gpus):
        pp = gpus // tp
        if tp * pp != gpus or pp > min(MOST_STAGES, task.llm.layers):
            continue
        stages = [StageMemory(layers, kind.memory_gib) for layers in even_layers(task.llm.layers, pp)]
        room = kv_capacity_tokens(task.llm, tp, stages)
        if room >= task.max_model_len:
            yield Layout(kind, tp, pp, pace(task.llm, kind.gpu, tp, pp, nvlink=kind.nvlink), room)


def best_codec(task: Task, link: Link) -> Codec:
    """Raw where the link is free and fast; int4 where bytes cost money; else what takes the least time."""
    if link.usd_per_gb > 0:
        return Codec.INT4
    seconds = {
        codec: float(kv_transfer_s(link, task.demand.prompt_mean, task.llm, codec))
        for codec in (Codec.RAW, Codec.INT8, Codec.INT4)
    }
    if seconds[Codec.RAW] <= HOP_SHARE * task.slo.ttft_s:
        return Codec.RAW
    return min(seconds, key=seconds.__getitem__)


class Capacities:
    """Requests/s of layouts for one task, each worked out once. A wanted codec is used on every hop."""

    def __init__(self, task: Task, codec: Codec | None = None) -> None:
        self.task = task
        self.codec = codec
        self._inside = codec or best_codec(task, INSIDE)
        self._layouts: dict[tuple[GpuKind, int], tuple[Layout, ...]] = {}
        self._prefill: dict[tuple[Layout, float, float, Codec], float] = {}
        self._decode: dict[Layout, float] = {}
        self._mixed: dict[Layout, float] = {}

    def layouts(self, kind: GpuKind, gpus: int) -> tuple[Layout, ...]:
        if (kind, gpus) not in self._layouts:
            self._layouts[kind, gpus] = tuple(layouts(self.task, kind, gpus))
        return self._layouts[kind, gpus]

    def prefill_rps(self, layout: Layout, link: Link = INSIDE, codec: Codec | None = None) -> float:
        """Prompts/s whose KV then crosses `link`; by default to a replica on the same instance. None where KV can't."""
        if not self.task.llm.kv_movable:
            return 0.0
        sent = codec or self._inside
        key = (layout, link.bandwidth_gbit_per_s, link.latency_ms, sent)
        if key not in self._prefill:
            hop = kv_transfer_s(link, self.task.sample.prompt, self.task.llm, sent)
            self._prefill[key] = prefill_rps(layout.pace, self.task.sample, self.task.slo, np.asarray(hop))
        return self._prefill[key]

    def decode_rps(self, layout: Layout) -> float:
        """Requests/s that arrive prefilled, which they only can where KV can be moved."""
        if not self.task.llm.kv_movable:
            return 0.0
        if layout not in self._decode:
            self._decode[layout] = decode_rps(layout.pace, self.task.sample, self.task.slo, layout.kv_tokens)
        return self._decode[layout]

    def mixed_rps(self, layout: Layout) -> float:
        """Requests/s of which it does both phases."""
        if layout not in self._mixed:
            self._mixed[layout] = mixed_rps(layout.pace, self.task.sample, self.task.slo, layout.kv_tokens)
        return self._mixed[layout]


def _tensor_degrees(llm: LlmSpec, gpus: int) -> Iterator[int]:
    """Powers of two that split the heads evenly, and the KV heads evenly or copy them evenly (vLLM's rules)."""
    tp = 1
    while tp <= gpus:
        if llm.heads % tp == 0 and (llm.kv_heads % tp == 0 or tp % llm.kv_heads == 0):
            yield tp
        tp *= 2
