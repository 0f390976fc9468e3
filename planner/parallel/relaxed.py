"""What no layout of a group can exceed: the best split for each load, the best of all hops, KV spread at will.

A pipeline is as fast as its slowest stage, which is quickest if the layers are split as suits the very load
(`filling.py`); the split of a layout is one for all loads. Of L layers that take y_s each in stage s, with l_s of them
there, sum_s l_s y_s >= L min_s y_s. A stage with room m beside its tables holds l layers of weights w and KV for K
tokens of v each where l (w + K v) <= m, so that a batch limits the layers of each stage, and all stages together hold
L (w + K v) <= the sum of m. What the engine's host adds is convex in the time of layers: even stages have the least.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TypeAlias

import numpy as np

from planner.catalog import Link
from planner.costmodel.layer import Amount, Seconds, longer, shorter, with_overlap
from planner.costmodel.pace import StagePace, pace
from planner.costmodel.transfer import kv_transfer_s
from planner.demand import Demand, Floats
from planner.deployment import Codec, Phase
from planner.links import INSIDE
from planner.llm import LlmSpec
from planner.memory import gpu_kv_bytes_per_token, stage_free_bytes, stage_kv_tokens
from planner.parallel.capacity import BATCHES, decode_rps, kv_held, mixed_rps, prefill_rps, with_margin
from planner.parallel.degrees import degrees, runs_on
from planner.parallel.filling import EPSILON, least_slowest_s, least_whole_s
from planner.parallel.shapes import GpuKind, hop_across, hop_inside
from planner.parallel.task import Task
from planner.workload import Slo

INTERPOLATED = 1.002
"""Rates are interpolated on a grid: those of a quicker pace can come out lower, by up to a thousandth."""
NEVER_S = 1e9
"""A pass of layers that fit no split: finite, as rates are worked out of sums and differences."""
Places: TypeAlias = tuple[tuple[GpuKind, int], ...]
"""How many instances of each kind a group has GPUs on."""


@dataclass(frozen=True, slots=True)
class RelaxedPace:
    """At least as fast as every pipeline over these stages.

    `stages` are pairs: a stage as if it held all layers and the output head alone, and how many such there are. `rooms`
    are their bytes beside tables, of which a layer takes `layer_bytes`, and of KV `token_bytes` for a token.
    With `is_whole`, layers are not divided: closer, but it takes longer. `most` are the layers that a stage of each
    kind may hold where that is known otherwise, for as many batches as it is asked about.
    """

    stages: tuple[tuple[StagePace, int], ...]
    layers: int
    rooms: tuple[float, ...] = ()
    layer_bytes: float = 1.0
    token_bytes: float = 0.0
    is_whole: bool = False
    most: tuple[Floats, ...] = ()
    hops_s: float = 0.0
    hops_token_s: float = 0.0
    wire_token_s: float = 0.0

    @property
    def pp(self) -> int:
        return sum(count for _, count in self.stages)

    def turn_s(self, batch: Amount, context: Amount, tokens: Amount = 0.0, pairs: Amount = 0.0) -> Seconds:
        """No longer than `Pace.turn_s` of any of them."""
        passes = shorter(longer(batch + self.pp * (tokens > 0), 1.0), float(self.pp))
        through, slowest = self._through_and_slowest_s(
            batch / passes, context / passes, tokens / passes, pairs / passes, self._most()
        )
        return longer(passes * slowest, through)

    def decode_step_s(self, batch: Amount, context: Amount) -> Seconds:
        """A turn without prompts."""
        return self.turn_s(batch, context)

    def decoding(self, demand: Demand, slo: Slo) -> "RelaxedPace":
        """For `decode_rps`, which asks about BATCHES and as many fuller ones: a split that holds the KV of the fuller
        one and steps within TPOT with it. A stage of l layers takes at least l times as long as one.
        """
        fuller = with_margin(BATCHES, demand, slo)
        passes = np.clip(fuller, 1.0, self.pp)
        held = kv_held(demand, slo, BATCHES) * self.token_bytes
        share = fuller / passes
        steps = (
            slo.tpot_s / (passes * stage.layer_s(0.0, 0.0, share, share * demand.context)) for stage, _ in self.stages
        )
        most = (
            np.minimum(room / (self.layer_bytes + held), step) for room, step in zip(self.rooms, steps, strict=True)
        )
        return replace(self, is_whole=True, most=tuple(most))

    def _most(self) -> list[Floats]:
        """Layers that a stage of each kind may hold at all, or as is known of each batch."""
        rooms = [np.asarray(room / self.layer_bytes) for room in self.rooms]
        return list(self.most) or rooms or [np.asarray(float(self.layers)) for _ in self.stages]

    def _through_and_slowest_s(
        self, batch: Amount, context: Amount, tokens: Amount, pairs: Amount, most: list[Floats]
    ) -> tuple[Seconds, Seconds]:
        layer_s = [np.asarray(stage.layer_s(tokens, pairs, batch, context)) for stage, _ in self.stages]
        heads = (_head_s(stage, tokens, batch) / each for each, (stage, _) in zip(layer_s, self.stages, strict=True))
        layers = self.layers + reduce(np.minimum, heads)
        host_s = reduce(np.minimum, (_host_s(stage, tokens, batch) for stage, _ in self.stages))
        overlap = self.stages[0][0].host_overlap
        through_s = self.pp * with_overlap(layers * reduce(np.minimum, layer_s) / self.pp, host_s, overlap)
        rows = tokens + batch
        slowest_s = with_overlap(self._slowest_s(layer_s, most, layers), host_s, overlap)
        return self.hops_s + self.hops_token_s * rows + through_s, np.maximum(self.wire_token_s * rows, slowest_s)

    def _slowest_s(self, layer_s: list[Floats], most: list[Floats], layers: Seconds) -> Floats:
        """Of the layers, or of them and the head as far as that can be divided."""
        counts = [count for _, count in self.stages]
        divided = layers / sum(count / each for each, count in zip(layer_s, counts, strict=True))
        if len(counts) == 1:
            fullest = -(-self.layers // self.pp)
            return np.where(most[0] + EPSILON >= fullest, np.maximum(divided, fullest * layer_s[0]), NEVER_S)
        least_s = least_whole_s if self.is_whole else least_slowest_s
        return np.minimum(np.maximum(divided, least_s(layer_s, most, counts, self.layers)), NEVER_S)


def _head_s(stage: StagePace, tokens: Amount, batch: Amount) -> Seconds:
    return with_overlap(stage.head_token_s * (batch + (tokens > 0)), stage.head_read_s, stage.cost.overlap)


def _host_s(stage: StagePace, tokens: Amount, batch: Amount) -> Seconds:
    return stage.host_s + stage.host_sequence_s * batch + stage.host_prompt_s * (tokens > 0)


def relaxed_pace(
    llm: LlmSpec,
    kinds: Sequence[tuple[GpuKind, int]],
    tp: int,
    places: int = 1,
    between: Link | None = None,
) -> RelaxedPace:
    """Over so many stages of each kind, each on `tp` of its GPUs, on `places` instances that `between` joins."""
    alone = tuple((pace(llm, kind.gpu, tp, 1, nvlink=kind.nvlink).stages[0][0], count) for kind, count in kinds)
    pp, hop_bytes = sum(count for _, count in kinds), llm.hidden * 2.0
    inside = [hop_inside(kind, tp * pp // places) for kind, _ in kinds]
    across = [hop_across(between, 0, 1)] if places > 1 else []
    hops = [min((*across, *inside), key=lambda hop: hop.hop_s(hop_bytes))] * (pp - places) + across * (places - 1)
    return RelaxedPace(
        stages=alone,
        layers=llm.layers,
        rooms=tuple(float(stage_free_bytes(llm, tp, 0, kind.memory_gib, first=False, last=False)) for kind, _ in kinds),
        layer_bytes=llm.layer_weight_bytes / tp,
        token_bytes=float(gpu_kv_bytes_per_token(llm, tp, 1)),
        hops_s=sum(min(one.alpha_s for one in (hop, *inside)) for hop in hops),
        hops_token_s=sum(hop.hop_s(hop_bytes) for hop in hops),
        wire_token_s=max((hop.hop_s(hop_bytes) for hop in across), default=0.0),
    )


def relaxed_kv_tokens(llm: LlmSpec, kinds: Sequence[tuple[GpuKind, int]], tp: int) -> int:
    """Tokens of KV that the tightest stage of any split has room for at most; 0 where the weights fit no split.

    Of stages that are alike, one holds at least L ÷ their number of layers, rounded up.
    """
    memories = [kind.memory_gib for kind, count in kinds for _ in range(count)]
    last = len(memories) - 1
    room = sum(stage_free_bytes(llm, tp, 0, memory, first=i == 0, last=i == last) for i, memory in enumerate(memories))
    tokens = (room / llm.layers - llm.layer_weight_bytes / tp) / gpu_kv_bytes_per_token(llm, tp, 1)
    if len(kinds) == 1:
        fullest, end = -(-llm.layers // len(memories)), last == 0
        tokens = min(tokens, stage_kv_tokens(llm, tp, fullest, memories[0], first=end, last=end))
    return max(0, int(tokens))


class Relaxed:
    """What groups serve at most, each in its best TP, worked out once."""

    def __init__(self, task: Task, codec: Codec | None = None) -> None:
        self.task = task
        self._codecs = (codec,) if codec else (Codec.RAW, Codec.INT8, Codec.INT4)
        self._hops: dict[Link, Floats] = {}
        self._known: dict[tuple[Places, int, Phase, Link | None], float] = {}
        self._sent: dict[tuple[Places, int, Link | None, Link], float] = {}

    def best(self, places: Places, gpus: int, phase: Phase, between: Link | None = None) -> float:
        """Requests/s of a group with `gpus` GPUs on each of so many instances of each kind, joined by `between`."""
        key = places, gpus, phase, between
        if key not in self._known:
            rates = (self._rps(phase, *one) for one in self._paces(places, gpus, between))
            self._known[key] = max(rates, default=0.0) * INTERPOLATED
        return self._known[key]

    def most(self, kind: GpuKind, gpus: int, phase: Phase) -> float:
        """Requests/s of so many GPUs of one instance, all of them in one phase, however they are grouped."""
        found = [0.0]
        for count in range(1, gpus + 1):
            ways = (self.best(((kind, 1),), size, phase) + found[count - size] for size in range(1, count + 1))
            found.append(max(ways))
        return found[gpus]

    def sent_rps(self, places: Places, gpus: int, link: Link, between: Link | None = None) -> float:
        """Prompts/s of such a group whose KV then crosses `link`."""
        key = places, gpus, between, link
        if key not in self._sent:
            task, hop = self.task, self._hop_s(link)
            rates = (
                prefill_rps(replace(pace, is_whole=True), task.sample, task.slo, hop, room)
                for pace, room in self._paces(places, gpus, between)
            )
            self._sent[key] = max(rates, default=0.0)
        return self._sent[key]

    def _paces(self, places: Places, gpus: int, between: Link | None) -> Iterator[tuple[RelaxedPace, int]]:
        """With the tokens of KV they have room for, where that is enough for one request."""
        llm, instances = self.task.llm, sum(count for _, count in places)
        if not all(runs_on(llm, kind.gpu) for kind, _ in places):
            return
        for tp, _ in degrees(llm, gpus, instances):
            stages = [(kind, count * gpus // tp) for kind, count in places]
            room = relaxed_kv_tokens(llm, stages, tp)
            if room >= self.task.max_model_len:
                yield relaxed_pace(llm, stages, tp, instances, between), room

    def _rps(self, phase: Phase, pace: RelaxedPace, room: int) -> float:
        demand, slo = self.task.sample, self.task.slo
        if phase is Phase.MIXED:
            return mixed_rps(pace, demand, slo, room)
        if not self.task.llm.kv_movable:
            return 0.0
        if phase is Phase.DECODE:
            return decode_rps(pace.decoding(demand, slo), demand, slo, room)
        return prefill_rps(replace(pace, is_whole=True), demand, slo, self._hop_s(INSIDE), room)

    def _hop_s(self, link: Link) -> Floats:
        """By the quickest codec, for each prompt."""
        if link not in self._hops:
            hops = (kv_transfer_s(link, self.task.sample.prompt, self.task.llm, codec) for codec in self._codecs)
            self._hops[link] = np.asarray(reduce(np.minimum, hops))
        return self._hops[link]
