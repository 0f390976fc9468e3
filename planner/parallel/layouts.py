"""The best TP x PP of a group of GPUs, for what it is to do, and what every layout serves.

A group has GPUs of one instance, or equally many on each of several instances of one private network; TP stays within
an instance, so that only hops between stages cross the network. Best is what serves the most requests/s within the SLO.
For prefill that contains the paper's least latency, as a replica that is too slow for TTFT serves none; for decode it
is the paper's most throughput within TPOT.
"""

from functools import partial
from math import isinf, log2
from operator import itemgetter
from typing import TypeAlias, assert_never

import numpy as np

from planner.catalog import Link
from planner.costmodel.pace import Pace
from planner.costmodel.transfer import kv_transfer_s
from planner.demand import Demand
from planner.deployment import Codec, Phase
from planner.links import INSIDE
from planner.parallel.capacity import decode_rps, mixed_rps, prefill_rps
from planner.parallel.frames import Frame, frames, orders, splits
from planner.parallel.layers import Split
from planner.parallel.shapes import Between, GpuKind, GroupShape, Layout, Share, Slot, layout_of
from planner.parallel.task import Task

__all__ = [
    "Between",
    "Capacities",
    "GpuKind",
    "GroupShape",
    "Layout",
    "Share",
    "Slot",
    "Task",
    "best_codec",
    "layouts",
]

HOP_SHARE = 0.05
"""Part of TTFT that a transfer may take before a codec that packs is worth its loss."""
Best: TypeAlias = tuple[Layout, float]
"""A layout, and its requests/s."""


def layouts(task: Task, shape: GroupShape, between: Between = None) -> tuple[Layout, ...]:
    """Every TP x PP of the group, with the splits of the layers that are worth rating in some phase."""
    found = (
        layout_of(task.llm, frame.tp, frame.slots(split), between)
        for frame in frames(task, shape, between)
        for phase in Phase
        for split in splits(task, frame, phase)
    )
    return tuple(dict.fromkeys(found))


def best_codec(task: Task, link: Link) -> Codec:
    """Raw where the link is free and fast; int4 where bytes cost money; else what takes the least time."""
    if link.usd_per_gb > 0:
        return Codec.INT4
    if kv_transfer_s(link, task.demand.prompt_mean, task.llm, Codec.RAW) <= HOP_SHARE * task.slo.ttft_s:
        return Codec.RAW
    return quickest_codec(task, link)


def quickest_codec(task: Task, link: Link) -> Codec:
    """What takes the least time for a mean prompt."""

    def seconds(codec: Codec) -> float:
        return float(kv_transfer_s(link, task.demand.prompt_mean, task.llm, codec))

    return min((Codec.RAW, Codec.INT8, Codec.INT4), key=seconds)


class Capacities:
    """Requests/s of layouts for one task, each worked out once. A wanted codec is used on every hop."""

    def __init__(self, task: Task, codec: Codec | None = None) -> None:
        self.task = task
        self.codec = codec
        self._inside = codec or best_codec(task, INSIDE)
        self._layouts: dict[tuple[GroupShape, Between], tuple[Layout, ...]] = {}
        self._best: dict[Phase, dict[tuple[GroupShape, Between], Best | None]] = {phase: {} for phase in Phase}
        self._prefill: dict[tuple[Layout, float, float, float, Codec], float] = {}
        self._rps: dict[Phase, dict[Layout, float]] = {phase: {} for phase in Phase}
        self._fleets: dict[float, Capacities] = {}

    def in_fleet(self, fleet_rps: float) -> "Capacities":
        """The same in a fleet of about so many requests/s (0: as it is), which makes arrivals more even.

        To the next half power of two, so that fleets of about one size share what is worked out; decode rates do not
        depend on it.
        """
        if fleet_rps <= 0:
            return self
        step = fleet_rps if isinf(fleet_rps) else 2 ** (round(2 * log2(fleet_rps)) / 2)
        if step not in self._fleets:
            self._fleets[step] = own = Capacities(self.task.in_fleet(step), self.codec)
            own._layouts = self._layouts
            own._best[Phase.DECODE], own._rps[Phase.DECODE] = self._best[Phase.DECODE], self._rps[Phase.DECODE]
        return self._fleets[step]

    def layouts(self, shape: GroupShape, between: Between = None) -> tuple[Layout, ...]:
        """Candidates worth rating."""
        key = shape, between if len(shape) > 1 else None
        if key not in self._layouts:
            self._layouts[key] = layouts(self.task, *key)
        return self._layouts[key]

    def best(self, shape: GroupShape, phase: Phase, between: Between = None) -> Best | None:
        """What serves the most in a phase; None where nothing fits, or what fits serves nothing."""
        known, key = self._best[phase], (shape, between if len(shape) > 1 else None)
        if key not in known:
            known[key] = self._found(shape, phase, key[1])
        return known[key]

    def rps(self, layout: Layout, phase: Phase) -> float:
        """Requests/s in a phase, KV staying on the instance."""
        if phase is Phase.PREFILL:
            return self.prefill_rps(layout)
        known = self._rps[phase]
        if layout not in known:
            known[layout] = self._worked_out(phase, layout.pace, layout.kv_tokens)
        return known[layout]

    def prefill_rps(self, layout: Layout, link: Link = INSIDE, codec: Codec | None = None) -> float:
        """Prompts/s whose KV then crosses `link`; by default to a replica on the same instance. None where KV can't.

        Strands beside each other, or in fewer bits, may be quicker than an instance is inside, but count as no more: so
        what a replica can do is known before it is paired.
        """
        sent = codec or self._inside
        key = (layout, link.bandwidth_gbit_per_s, link.latency_ms, link.codec_gb_per_s, sent)
        if key not in self._prefill:
            rps = self._prefilled(layout.pace, layout.kv_tokens, link, sent)
            self._prefill[key] = rps if link is INSIDE else min(rps, self.prefill_rps(layout))
        return self._prefill[key]

    def decode_rps(self, layout: Layout) -> float:
        """Requests/s that arrive prefilled, which they only can where KV can be moved."""
        return self.rps(layout, Phase.DECODE)

    def mixed_rps(self, layout: Layout) -> float:
        """Requests/s of which it does both phases."""
        return self.rps(layout, Phase.MIXED)

    def _worked_out(self, phase: Phase, pace: Pace, kv_tokens: int, sample: Demand | None = None) -> float:
        demand, slo = sample or self.task.sample, self.task.slo
        match phase:
            case Phase.PREFILL:
                return self._prefilled(pace, kv_tokens, INSIDE, self._inside)
            case Phase.DECODE:
                return decode_rps(pace, demand, slo, kv_tokens) if self.task.llm.kv_movable else 0.0
            case Phase.MIXED:
                return mixed_rps(pace, demand, slo, kv_tokens)
            case _:
                assert_never(phase)

    def _prefilled(self, pace: Pace, kv_tokens: int, link: Link, codec: Codec) -> float:
        if not self.task.llm.kv_movable:
            return 0.0
        hop = kv_transfer_s(link, self.task.sample.prompt, self.task.llm, codec)
        return prefill_rps(pace, self.task.sample, self.task.slo, np.asarray(hop), kv_tokens)

    def _found(self, shape: GroupShape, phase: Phase, between: Between) -> Best | None:
        """The best split of the best frame, whatever kind of GPU is last.

        Mixed rates take many times as long as others, so layouts are told apart by those of a sketch of the demand.
        """
        llm, rate = self.task.llm, partial(self._best_split, phase)
        best = max(map(rate, frames(self.task, shape, between)), key=itemgetter(0), default=None)
        if best is None or best[0] <= 0:
            return None
        others = (best[1].reordered(llm, best[2], order)[0] for order in orders(self.task, shape, between)[1:])
        _, frame, split = max([best, *map(rate, others)], key=itemgetter(0))
        layout = layout_of(llm, frame.tp, frame.slots(split), between)
        rps = self.rps(layout, phase)
        return (layout, rps) if rps > 0 else None

    def _best_split(self, phase: Phase, frame: Frame) -> tuple[float, Frame, Split]:
        rated = ((self._split_rps(phase, frame, split), frame, split) for split in splits(self.task, frame, phase))
        return max(rated, key=itemgetter(0), default=(0.0, frame, ()))

    def _split_rps(self, phase: Phase, frame: Frame, split: Split) -> float:
        """As good a rate as is needed to tell layouts apart."""
        room = frame.kv_tokens(split)
        if room < self.task.max_model_len:
            return 0.0
        sample = self.task.sketch if phase is Phase.MIXED else self.task.sample
        return self._worked_out(phase, frame.cost.pace(split), room, sample)
