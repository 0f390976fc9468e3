"""A request on its way through one lane, once, and what is told of it."""

from collections.abc import Callable
from dataclasses import dataclass

from planner.simulation.scenario import Lane

HAND_ON, LOAD, SERVE, DECODE = range(4)
"""Where a job stands: its prompt is computed to be handed on; its KV is on the way; its prompt is computed where it is
decoded; it is decoded. The first and the second are left out by local lanes."""


class Job:
    """The engines' own notes on a request. A request that starts again gets a new job, and the old one is `over`.

    `target` tokens have to be computed before the next token comes, `computed` are; `tokens` came so far; `due` is the
    pass at whose end something happens to it (-1: none). The first
    byte of its packed KV can be at the other end from `ready_s` on.
    """

    __slots__ = (
        "cached",
        "computed",
        "due",
        "lane",
        "output",
        "over",
        "prompt",
        "ready_s",
        "request",
        "stage",
        "target",
        "tokens",
    )

    def __init__(self, request: int, lane: Lane, prompt: float, output: float, cached: float) -> None:
        self.request, self.lane = request, lane
        self.prompt, self.output, self.cached = prompt, output, cached
        self.stage = SERVE if lane.prefill == lane.decode else HAND_ON
        self.target, self.computed = prompt, cached
        self.tokens = 0.0
        self.due = -1
        self.ready_s = 0.0
        self.over = False


@dataclass(frozen=True, slots=True)
class Reports:
    """Whom an engine tells what happened."""

    first: Callable[[Job, float], None]
    finished: Callable[[Job, float], None]
    preempted: Callable[[Job], None]
    prefilled: Callable[[Job, float, float], None]
    """With the times at which the prompt was through, and its KV copied out."""
    load: Callable[[Job, float], None]
    """There is room for a job's KV from this time on."""
