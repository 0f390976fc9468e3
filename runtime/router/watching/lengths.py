"""Prompt and output tokens of what arrives, estimated so that answers count before they end. Pure.

Short answers end first, so the ones that ended understate what arrives, the more so the more is under way: a queue that
grows hides itself. An answer that goes on, or that its client gave up, has at least the tokens it has so far, which is
a censored observation. Outputs are therefore estimated by product limits (Kaplan and Meier, JASA 53, 1958), each
answer counted from what it had already as the window began (Tsai, Jewell and Wang, Biometrika 74, 1987: else those that
last longer than the window would count too much). A prompt is known as it arrives, and counts then; the output that an
unended answer will have is drawn from those of prompts about as long (Beran, 1981), so that the two stay correlated.

Where even the longest lengths have not ended, what they have so far is all that is known: still too little, but no more
by half.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

FEWEST_ENDED = 5
"""Ended answers below which nothing is said of the others."""
NEAR = 8
"""Ended answers of shorter, and of longer prompts from which the output of one that goes on is drawn."""
GOLDEN = (5**0.5 - 1) / 2
"""Its multiples spread evenly between 0 and 1."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Tokens of a request: `output` of all its answer where that `ended`, else so far.

    `before` are those that it had as the window began. `arrived`: within the window. `prompt`: None where not known.
    """

    prompt: int | None
    output: int
    before: int = 0
    ended: bool = True
    arrived: bool = True


@dataclass(frozen=True, slots=True)
class Point:
    """An output that was seen, after a prompt, and the share of the requests that it stands for."""

    prompt: int
    output: int
    weight: float


def expected_lengths(answers: Sequence[Answer]) -> list[tuple[int, int]]:
    """(prompt, output) of each request that arrived within the window, by those that ended or go on in it.

    Of so few that ended that they say nothing of the others: theirs.
    """
    ended = [(one.prompt, one.output) for one in answers if one.ended and one.prompt is not None]
    if len(ended) < FEWEST_ENDED or len(ended) == len(answers):
        return ended
    draw = _Draw(points(answers))
    return [
        (one.prompt, one.output if one.ended else draw(one.prompt, one.output))
        for one in answers
        if one.arrived and one.prompt is not None
    ]


def points(answers: Sequence[Answer]) -> list[Point]:
    """What was seen of outputs, weighted by product limits. What is left beyond the longest that ended falls on those
    that have more by now, as if they ended here."""
    ends = Counter(one.output for one in answers if one.ended)
    drops, left = {}, 1.0
    for output, share in _hazards(answers, ends):
        drops[output] = left * share / ends[output]
        left *= 1 - share
    longest = max(ends)
    beyond = sum(_is_beyond(one, longest) for one in answers)
    return [
        Point(one.prompt, one.output, drops[one.output] if one.ended else left / beyond)
        for one in answers
        if one.prompt is not None and (one.ended or _is_beyond(one, longest))
    ]


def _is_beyond(one: Answer, longest: int) -> bool:
    return not one.ended and one.output >= longest


def _hazards(answers: Sequence[Answer], ends: Counter[int]) -> Iterator[tuple[int, float]]:
    """By length, rising: the share of those that had got there and ended. A few that were there alone don't end all."""
    entered, reached = sorted(one.before for one in answers), sorted(one.output for one in answers)
    for output in sorted(ends):
        there = bisect_left(entered, output) - bisect_left(reached, output)
        alone = there == ends[output] and output < reached[-1]
        yield output, ends[output] / (there + alone)


class _Draw:
    """Outputs of answers that have not ended: each longer than what it has, evenly over the points near its prompt."""

    def __init__(self, found: Sequence[Point]) -> None:
        self._by_prompt = sorted(found, key=lambda point: point.prompt)
        self._prompts = [point.prompt for point in self._by_prompt]
        self._by_output = sorted(found, key=lambda point: point.output)
        self._outputs = [point.output for point in self._by_output]
        self._count = 0

    def __call__(self, prompt: int, so_far: int) -> int:
        self._count += 1
        at = bisect_left(self._prompts, prompt)
        near = self._by_prompt[max(at - NEAR, 0) : at + NEAR]
        longer = sorted((point for point in near if point.output > so_far), key=lambda point: point.output)
        longer = longer or self._by_output[bisect_right(self._outputs, so_far) :]
        if not longer:
            return so_far
        sums = list(accumulate(point.weight for point in longer))
        place = bisect_left(sums, self._count * GOLDEN % 1 * sums[-1])
        return longer[min(place, len(longer) - 1)].output
