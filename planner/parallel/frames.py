"""A group's TP x PP with its stages in order, and the splits of the model's layers that are worth rating on it.

Which split is best depends on the phase. For prefill the stages should take equally long over a prompt, for decode over
a batch, and the room for KV should be equal, as it limits the batch; what serves the most lies among these, or near.
"""

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

    @property
    def alike(self) -> tuple[tuple[int, bool], ...]:
        """A name for each stage: those of one instance are the same, but for the output head."""
        last = len(self.stages) - 1
        return tuple((stage.place, i == last) for i, stage in enumerate(self.stages))

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
    """Layers of each stage: as even as can be, and so that no stage lags behind in what counts for the phase."""
    layers, stages = task.llm.layers, len(frame.stages)
    legal = frame.room >= task.max_model_len

    def balanced(cost: Floats) -> Split | None:
        return least_worst_split(np.where(legal, cost, np.inf), layers)

    even = balanced(np.tile(np.arange(layers), (stages, 1)))
    if even is None or stages == 1:
        return [even] if even else []
    found: list[Split | None] = [even]
    if phase.prefills:
        found.append(balanced(_stage_s(frame, *task.mean_prompt, 0.0, 0.0)))
    if phase.decodes:
        roomiest = balanced(1 / np.maximum(frame.room, 1.0)) or even
        context = task.mean_context
        batch = max(1.0, min(frame.kv_tokens(roomiest) / context, MAX_SEQUENCES) / stages)
        found += [roomiest, balanced(_stage_s(frame, 0.0, 0.0, batch, batch * context))]
    return list(dict.fromkeys(split for split in found if split))


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
