"""What `kv_crossover.py` found, as sections of its page."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from textwrap import wrap

import numpy as np

from benchmarks.kv_crossover_cells import LENGTHS, MOVED, ROUNDS, Cell, Cells, typical
from benchmarks.kv_crossover_model import Model, crossing
from benchmarks.kv_crossover_pair import Legs
from planner.costmodel.transfer import kv_wire_bytes
from planner.deployment import Codec

TARGET_ERROR = 0.2
MEGABIT, KILO = 1e6 / 8, 1e3
WIDTH = 118
HEAD = (
    "| Mbit/s | KV | prefill leg | predicted | decode leg to its first token | predicted | error "
    "| both legs | predicted | error | a step | sending is sooner: measured, predicted |"
)


@dataclass(frozen=True, slots=True)
class Seen:
    """A cell: what was measured, medians, beside what the model predicts."""

    cell: Cell
    real: Legs
    guess: Legs

    @property
    def errors(self) -> tuple[float, float]:
        """Of the decode leg, and of the whole request."""
        return self.guess.decode_s / self.real.decode_s - 1, self.guess.ttft_s / self.real.ttft_s - 1


def told(text: str) -> list[str]:
    """Prose in lines as they are printed."""
    return wrap(" ".join(text.split()), WIDTH)


def seen_of(cells: Cells, model: Model) -> list[Seen]:
    """In the order of the tables."""
    order = sorted(cells, key=lambda cell: (cell.tokens, cell.mbit_per_s, -kv_wire_bytes(model.llm, 1.0, cell.codec)))
    return [Seen(cell, typical(cells[cell]), model.predicted(cell)) for cell in order]


def cell_sections(seen: list[Seen]) -> Iterator[str]:
    for tokens in LENGTHS:
        yield from ("", f"## Prompts of {tokens:,} tokens", "")
        yield HEAD
        yield "|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|"
        own = [one for one in seen if one.cell.tokens == tokens]
        yield from (_row(one, own[0]) for one in own)
    worst = max(abs(error) for one in seen for error in one.errors)
    over = sum(max(map(abs, one.errors)) > TARGET_ERROR for one in seen)
    met = "**met**" if not over else f"**missed** in {over} of {len(seen)} rows"
    yield from ("", f"Largest error: {worst:.0%}. Target of {TARGET_ERROR:.0%} in every row: {met}.")


def crossover_section(seen: list[Seen], model: Model) -> Iterator[str]:
    """Rates from which on the KV is there sooner than it could be computed."""
    yield from ("", "## Crossovers", "")
    yield from told("""From this line rate on the decode leg begins sooner with KV that is sent than by computing the
        prompt; Mbit/s, measured (between the rates above, along a constant and a part that falls as 1 ÷ rate) and
        predicted.""")
    yield ""
    yield "| tokens | " + " | ".join(f"{codec} measured | predicted" for codec in MOVED) + " |"
    yield "|--:|" + "--:|--:|" * len(MOVED)
    for tokens in LENGTHS:
        real = {one.cell: one.real.decode_s for one in seen}
        local_s = real[Cell(tokens, Codec.LOCAL)]
        row = []
        for codec in MOVED:
            sent_s = np.array([real[Cell(tokens, codec, rate)] for rate in ROUNDS])
            row.append(f"{crossing(np.array(list(ROUNDS)), sent_s, local_s):.1f}")
            row.append(f"{model.crossover_mbit_per_s(tokens, codec):.1f}")
        yield f"| {tokens:,} | {' | '.join(row)} |"


def overlap_section(seen: list[Seen], model: Model, parts: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """What the parts of a hop take, and what doing them at once could save."""
    yield from ("", "## What a hop is made of, and what overlapping would gain", "")
    yield from told("""Milliseconds of one thread's CPU time by part (`kv_crossover_parts.py`). A hop is made of these,
        the line, and what agents and connectors take to tell each other.""")
    yield ""
    names = list(next(iter(parts.values())))
    yield "| KV | tokens | " + " | ".join(names) + " |"
    yield "|---|--:|" + "--:|" * len(names)
    for tokens in LENGTHS:
        for codec in MOVED:
            found = parts[f"{codec} {tokens}"]
            yield f"| {codec} | {tokens:,} | " + " | ".join(f"{found[name]:.1f}" for name in names) + " |"
    yield ""
    yield from told("""The most that could be saved of a request's both legs by doing at once what now is done in turn:
        sending tiles while others are encoded / sending layers while later ones are computed, all but the last. In
        brackets where computing the prompt anew is sooner than sending anyway.""")
    yield ""
    rates = list(ROUNDS)
    yield "| KV | tokens | " + " | ".join(f"{rate:g} Mbit/s" for rate in rates) + " |"
    yield "|---|--:|" + "--:|" * len(rates)
    whole = {one.cell: one.real for one in seen}
    for tokens in LENGTHS:
        for codec in MOVED:
            gains = [_gains(Cell(tokens, codec, rate), whole, model, parts) for rate in rates]
            yield f"| {codec} | {tokens:,} | " + " | ".join(gains) + " |"


def _row(one: Seen, local: Seen) -> str:
    ms = [f"{seconds * KILO:.0f}" for legs in zip(*map(_parts, (one.real, one.guess)), strict=True) for seconds in legs]
    errors = [f"{error:+.0%}" for error in one.errors]
    sooner = [side.decode_s < base.decode_s for side, base in ((one.real, local.real), (one.guess, local.guess))]
    told = "" if one is local else ", ".join("yes" if side else "no" for side in sooner)
    rate = f"{one.cell.mbit_per_s:g}" if one.cell.mbit_per_s else ""
    name = "computed there" if one is local else str(one.cell.codec)
    figures = [*ms[:4], errors[0], *ms[4:], errors[1], f"{one.real.step_s * KILO:.1f}", told]
    return f"| {rate} | {name} | {' | '.join(figures)} |"


def _parts(legs: Legs) -> tuple[float, float, float]:
    return legs.prefill_s, legs.decode_s, legs.ttft_s


def _gains(cell: Cell, whole: Mapping[Cell, Legs], model: Model, parts: Mapping[str, Mapping[str, float]]) -> str:
    """Bounds, as parts of both legs."""
    found, legs = parts[f"{cell.codec} {cell.tokens}"], whole[cell]
    wire_s = float(kv_wire_bytes(model.llm, float(cell.tokens), cell.codec)) / (cell.mbit_per_s * MEGABIT)
    encoding_s = (found["encode"] + found["seal"]) / KILO
    sending_s = found["copy out"] / KILO + encoding_s + wire_s
    layers = model.llm.layers
    beside = min(encoding_s, wire_s) / legs.ttft_s
    streamed = min(legs.prefill_s, sending_s) * (1 - 1 / layers) / legs.ttft_s
    text = f"{beside:.0%} / {streamed:.0%}"
    sooner = legs.decode_s < whole[Cell(cell.tokens, Codec.LOCAL)].decode_s
    return text if sooner else f"({text})"
