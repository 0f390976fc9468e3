"""What is measured: requests over the line at each rate, with each codec, in rounds: no cell has a bad minute alone."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.kv_crossover_pair import EnginePair, Legs
from benchmarks.shaped_line import Line
from planner.deployment import Codec
from thunderctl.calibration.sweep import VOCABULARY

LENGTHS = (512, 1536)
MOVED = (Codec.RAW, Codec.INT8, Codec.INT4)
ROUNDS = {5.0: 3, 10.0: 5, 20.0: 5, 50.0: 5, 100.0: 5, 200.0: 5}
"""By Mbit/s. Where a request takes ten seconds of the line, three of them tell as much."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A prompt's tokens and how its KV comes: by a codec at a rate, or computed where it is decoded (rate 0)."""

    tokens: int
    codec: Codec
    mbit_per_s: float = 0.0


Cells = Mapping[Cell, Sequence[Legs]]


def measured(pair: EnginePair, line: Line, say: Callable[[str], None]) -> Cells:
    """Every cell, as many times as its rate is worth. Prompts are drawn anew, so no prefix cache knows them."""
    drawn = random.Random()
    found: dict[Cell, list[Legs]] = {}
    for number in range(max(ROUNDS.values())):
        for tokens in LENGTHS:
            _ask(pair, Cell(tokens, Codec.LOCAL), drawn, found)
        for mbit_per_s in (rate for rate, rounds in ROUNDS.items() if number < rounds):
            say(f"round {number + 1}: {mbit_per_s:g} Mbit/s")
            line.shape(mbit_per_s)
            for tokens in LENGTHS:
                for codec in MOVED:
                    _ask(pair, Cell(tokens, codec, mbit_per_s), drawn, found)
    return found


def typical(legs: Sequence[Legs]) -> Legs:
    """The medians of the parts."""
    return Legs(*(median(getattr(one, name) for one in legs) for name in ("prefill_s", "decode_s", "step_s")))


def _ask(pair: EnginePair, cell: Cell, drawn: random.Random, found: dict[Cell, list[Legs]]) -> None:
    prompt = drawn.choices(VOCABULARY, k=cell.tokens)
    found.setdefault(cell, []).append(asyncio.run(pair.legs(prompt, cell.codec)))
