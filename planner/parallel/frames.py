"""A group's TP x PP with its stages in order, and the splits of the model's layers that are worth rating on it.

Which split is best depends on the phase: for prefill the stages should take equally long over a prompt, for decode over
a batch, and for a mixed replica over both in turn. The more KV is to have room beside the weights, the fewer layers a
small card holds, so for each room there is a best split, and what serves the most is among these, or near.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from planner.batching import MAX_SEQUENCES
from planner.costmodel.pace import PipelineCost
from planner.demand import Floats
from planner.deployment import Phase
from planner.llm import LlmSpec
from planner.parallel.degrees import degrees, runs_on
from planner.parallel.layers import Split, least_worst_split, room_tokens
from planner.parallel.shapes import Between, GpuKind, GroupShape, Slot, cost_of, hop_across
from planner.parallel.stage_order import stage_orders
from planner.parallel.task import Task

ROOMS = 5
"""Rooms for KV, from the most to the least there can be, that splits for prompts are made for."""
FEWER = (0, 1, 2, 3, 5, 7, 10, 14, 19, 25)
"""How many of `BATCHES` below the largest that can be run splits for decode are made for."""

cheapest_orders = cache(stage_orders)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A layout whose layers are still open: its stages in order, what they cost, and their room for KV.

    `room` is in tokens, of each stage (row) with 1, 2, … layers (column).
    """

    tp: int
    stages: tuple[Slot, ...]
    between: Between
    cost: PipelineCost
    room: Floats

    def reordered(self, llm: LlmSpec, split: Split, order: Sequence[int]) -> tuple["Frame", Split]:
        """The same stages with their layers, the instances in another order."""
        moved = sorted(zip(self.stages, split, strict=True), key=lambda one: order.index(one[0].place))
        stages, layers = zip(*moved, strict=True)
        return frame_of(llm, self.tp, stages, self.between), layers

    def slots(self, split: Split) -> tuple[Slot, ...]:
        return tuple(replace(stage, layers=layers) for stage, layers in zip(self.stages, split, strict=True))

    def kv_tokens(self, split: Split) -> int:
        """What the tightest stage has room for."""
        return int(min(row[layers - 1] for row, layers in zip(self.room, split, strict=True)))


def frames(task: Task, shape: GroupShape, between: Between) -> Iterator[Frame]:
    """Every TP x PP that uses all GPUs of the shape, its instances in the order of the cheapest hops."""
    llm, gpus = task.llm, shape[0].gpus
    if any(share.gpus != gpus or not runs_on(llm, share.kind.gpu) for share in shape):
        return
    order = orders(task, shape, between)[0]
    for tp, _ in degrees(llm, gpus, len(shape)):
        stages = tuple(Slot(shape[place].kind, place, 0) for place in order for _ in range(gpus // tp))
        yield frame_of(llm, tp, stages, between)


def orders(task: Task, shape: GroupShape, between: Between) -> tuple[tuple[int, ...], ...]:
    """The cheapest order of the instances for each kind of GPU that may hold the output head, the cheapest first."""
    if len(shape) == 1:
        return ((0,),)
    found: dict[GpuKind, tuple[int, ...]] = {}
    for order in cheapest_orders(_hop_s(task, shape, between)):
        found.setdefault(shape[order[-1]].kind, order)
    return tuple(found.values())


def frame_of(llm: LlmSpec, tp: int, stages: tuple[Slot, ...], between: Between) -> Frame:
    room = room_tokens(llm, tp, [stage.kind.memory_gib for stage in stages])
    return Frame(tp, stages, between, cost_of(llm, tp, stages, between), room)


def splits(task: Task, frame: Frame, phase: Phase) -> list[Split]:
    """Layers of each stage that are worth rating: the roomiest for KV, and those that give up room to be quicker."""
    roomiest = _balanced(task, frame, 1 / np.maximum(frame.room, 1.0))
    if roomiest is None or len(frame.stages) == 1:
        return [roomiest] if roomiest else []
    if phase is Phase.DECODE:
        return list(dict.fromkeys((roomiest, *_for_batches(task, frame))))
    return list(dict.fromkeys((roomiest, *_with_room(task, frame, phase, frame.kv_tokens(roomiest)))))


def _with_room(task: Task, frame: Frame, phase: Phase, most_tokens: int) -> Iterator[Split]:
    """With so much room for KV, or ever less of it: the stages are busy equally long for a request."""
    prompt_s = _stage_s(frame, *task.mean_prompt, 0.0, 0.0)
    context = task.mean_context
    for room in np.geomspace(most_tokens, task.max_model_len, ROOMS):
        busy_s = prompt_s
        if phase.decodes:
            batch = min(room / context, MAX_SEQUENCES)
            passes = min(max(batch, 1.0), len(frame.stages))
            each = batch / passes
            turn_s = passes * _stage_s(frame, 0.0, 0.0, each, each * context)
            busy_s = prompt_s + task.demand.output_mean / batch * turn_s
        if split := _balanced(task, frame, busy_s, room):
            yield split


def _for_batches(task: Task, frame: Frame) -> Iterator[Split]:
    """For the largest batch that fits and steps within TPOT, and for smaller ones: the stages step equally fast.

    Each has room for the KV of its batch, which is exceeded as rarely as `decode_rps` asks.
    """
    held, most = task.batches

    def split(i: int) -> Split | None:
        each = most[i] / min(most[i], len(frame.stages))
        return _balanced(task, frame, _stage_s(frame, 0.0, 0.0, each, each * task.mean_context), held[i])

    def is_beyond(i: int) -> bool:
        own = split(i)
        if own is None:
            return True
        return bool(frame.cost.pace(own).decode_step_s(most[i], most[i] * task.mean_context) > task.slo.tpot_s)

    largest = bisect_left(range(len(most)), True, key=is_beyond) - 1
    return (own for fewer in FEWER if fewer <= largest and (own := split(largest - fewer)))


def _balanced(task: Task, frame: Frame, cost: Floats, room_tokens: float = 0.0) -> Split | None:
    """The split whose costliest stage costs least, of those with so much room for KV and for the longest request."""
    legal = frame.room >= max(room_tokens, task.max_model_len)
    return least_worst_split(np.where(legal, cost, np.inf), task.llm.layers)


def _stage_s(frame: Frame, tokens: float, pairs: float, batch: float, context: float) -> Floats:
    """What a pass takes in each stage (row) with 1, 2, … layers (column)."""
    alone = [stage.pace(1) for stage in frame.cost.stages]
    layer_s = np.array([stage.layer_s(tokens, pairs, batch, context) for stage in alone])
    table = np.outer(layer_s, np.arange(1.0, frame.room.shape[1] + 1))
    table[-1] += alone[-1].pass_s(tokens, pairs, batch, context) - layer_s[-1]
    return table


def _hop_s(task: Task, shape: GroupShape, between: Between) -> tuple[tuple[float, ...], ...]:
    """What the activations of a mean prompt take from each instance to each other."""
    sent = task.mean_prompt[0] * task.llm.hidden * 2.0
    places = range(len(shape))
    hops = [[hop_across(between, i, j) if i != j else None for j in places] for i in places]
    return tuple(tuple(hop.alpha_s + hop.hop_s(sent) if hop else 0.0 for hop in row) for row in hops)
