"""What a GPU adds, at most, to a replica of any shape: a bound for groups that are too many to be rated one by one.

In every formula of `capacity.py` each stage limits a rate r. A batch of B has T seconds for a token; a layer takes z_s
of them in stage s, whose memory and TPOT allow at most h_s layers, so that with l_s layers

    l_s <= min(T / z_s, h_s),      sum_s l_s = L,      r = B / (output T)

and r <= B / (output T) sum_s min(T / z_s, h_s) / L: a sum, to which each GPU of a stage adds its part. T is at least
what MOST_STAGES of the fastest stages need to hold all layers between them, and the sum is largest at the least T.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.batching import MAX_SEQUENCES
from planner.costmodel.pace import StagePace
from planner.demand import Floats
from planner.deployment import Phase
from planner.memory import gpu_kv_bytes_per_token, stage_free_bytes
from planner.parallel.capacity import BATCHES, busiest, kv_held, pieces, targets, with_margin
from planner.parallel.degrees import MOST_STAGES, heads_split
from planner.parallel.relaxed import RelaxedPace, relaxed_pace
from planner.parallel.shapes import GpuKind
from planner.parallel.task import Task

MOST_TP = 8


def most_per_gpu(task: Task, kinds: Sequence[GpuKind], phase: Phase) -> Floats:
    """Requests/s that a GPU of each kind adds at most to a replica over two instances or more, of any of the kinds."""
    degrees = [tp for tp in range(1, MOST_TP + 1) if heads_split(task.llm, tp)]
    found = np.zeros(len(kinds))
    for tp in degrees:
        stages = [_Stage.of(task, kind, tp) for kind in kinds]
        busy = max(busiest(stage.ideal, task.sample, task.slo, _target(task, phase)) for stage in stages)
        for pp in range(2, MOST_STAGES + 1):
            found = np.maximum(found, _added(task, stages, tp, pp, phase, busy))
    return found


def _target(task: Task, phase: Phase) -> float:
    return targets(task.slo).prefill if phase is Phase.PREFILL else targets(task.slo).mixed


def _added(task: Task, stages: Sequence["_Stage"], tp: int, pp: int, phase: Phase, busy: float) -> Floats:
    if busy <= 0 and phase is not Phase.DECODE:
        return np.zeros(len(stages))
    if phase is Phase.PREFILL:
        each_s = np.array([stage.prompt_s(pp, np.zeros(1))[0] for stage in stages])
        return np.where(each_s > 0, busy / (task.llm.layers * tp * each_s), 0.0)
    layer_s = np.array([stage.token_s(pp, phase, busy) for stage in stages])
    most = np.array([stage.most_layers(pp, phase) for stage in stages])
    even = task.llm.layers / pp
    with np.errstate(divide="ignore", invalid="ignore"):
        least_s = np.min(np.where(most >= even, layer_s * even, np.inf), axis=0)
        each = np.minimum(1 / layer_s, most / least_s) * BATCHES / (task.sample.output_mean * task.llm.layers * tp)
    return np.asarray(np.max(np.where(np.isfinite(least_s), each, 0.0), axis=1, initial=0.0))


@dataclass(frozen=True, slots=True)
class _Stage:
    """A stage of one kind: what a layer of it takes, and how many it may hold, by batch (BATCHES)."""

    task: Task
    kind: GpuKind
    tp: int
    cost: StagePace

    @classmethod
    def of(cls, task: Task, kind: GpuKind, tp: int) -> "_Stage":
        ((cost, _),) = relaxed_pace(task.llm, [(kind, 1)], tp).stages
        return cls(task, kind, tp, cost)

    @property
    def ideal(self) -> RelaxedPace:
        """The quickest group that has no faster stages than this one: hops cost nothing."""
        return RelaxedPace(((self.cost, MOST_STAGES),), self.task.llm.layers)

    def prompt_s(self, pp: int, batch: Floats) -> Floats:
        """All passes of the mean prompt, each beside its part of a decoding batch."""
        demand, share = self.task.sample, batch[:, None] / pp
        taken = pieces(pp, demand, batch)
        each_s = self.cost.layer_s(demand.computed / taken, demand.pairs / taken, share, share * demand.context)
        return np.asarray((taken * each_s).mean(axis=1))

    def token_s(self, pp: int, phase: Phase, busy: float) -> Floats:
        """In which each of a batch gets a token. Of a mixed replica's turns some carry prompts (`_mixed_batch`)."""
        alone = self._step_s(pp, BATCHES)
        if phase is Phase.DECODE:
            return alone
        demand, share = self.task.sample, BATCHES / pp
        taken = pieces(pp, demand, BATCHES).mean(axis=1)
        prompt = demand.computed.mean() / taken, demand.pairs.mean() / taken
        beside = pp * self.cost.layer_s(*prompt, share, share * demand.context)
        part = np.minimum(BATCHES * taken / (demand.output_mean * pp), 1.0)
        turns = (1 - part) * alone + part * beside
        return np.asarray(np.maximum(turns, BATCHES * self.prompt_s(pp, BATCHES) / (busy * demand.output_mean)))

    def most_layers(self, pp: int, phase: Phase) -> Floats:
        """As many as memory holds with the KV of a batch, and as step within TPOT."""
        task = self.task
        demand = task.sample
        variation = demand.least_variation if phase is Phase.MIXED else demand.arrival_variation
        most = with_margin(BATCHES, demand, task.slo, variation)
        free = stage_free_bytes(task.llm, self.tp, 0, self.kind.memory_gib, first=False, last=False)
        kv = kv_held(demand, task.slo, BATCHES, variation) * gpu_kv_bytes_per_token(task.llm, self.tp, 1)
        fits = free / (kv + task.llm.layer_weight_bytes / self.tp)
        steps = task.slo.tpot_s / self._step_s(pp, most)
        return np.where(most <= MAX_SEQUENCES, np.minimum(fits, steps), 0.0)

    def _step_s(self, pp: int, batch: Floats) -> Floats:
        passes = np.clip(batch, 1.0, pp)
        share = batch / passes
        return np.asarray(passes * self.cost.layer_s(0.0, 0.0, share, share * self.task.sample.context))
