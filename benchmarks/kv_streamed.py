"""Time to the first token with KV that crosses while it is computed, or after; writes `results/kv_streamed.md`.

.venv/bin/python -m benchmarks.kv_streamed [MBIT_PER_S ...]

As `kv_crossover`: two engines with the shipped model behind two agents, each pair in a network namespace, between them
a line shaped by `tc tbf`. Takes root, and some minutes of a machine that does nothing else.
"""

import asyncio
import os
import platform
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.kv_crossover_pair import MODEL
from benchmarks.kv_crossover_tables import told
from benchmarks.kv_streamed_pair import TOKENS_PER_PASS, Run, StreamedPair, streamed_pair
from benchmarks.shaped_line import Line, Unavailable, shaped_line
from planner.deployment import Codec
from thunderctl.calibration.record import Machine
from thunderctl.calibration.sweep import VOCABULARY
from thunderctl.hosts.engine_environment import engine_version

TARGET = Path(__file__).parent / "results" / "kv_streamed.md"
RATES = (20.0, 100.0)
"""Mbit/s: about where sending int4 begins to pay, and well beyond."""

LENGTHS = (512, 3584)
CODECS = (Codec.RAW, Codec.INT4)
LAYERS = 8
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Cell:
    """A prompt's tokens, how its KV crosses, and whether that is while it is computed."""

    tokens: int
    codec: Codec
    mbit_per_s: float
    streamed: bool


Found = Mapping[Cell, Sequence[Run]]


def main(rates: Sequence[float]) -> None:
    """Measure at these rates and write the page."""
    before, began = os.getloadavg()[0], time.monotonic()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="thunder-bench.") as folder,
            shaped_line() as line,
            streamed_pair(Path(folder), line) as pair,
        ):
            lost = -asyncio.run(pair.loaded())
            found = _measured(pair, line, rates, lambda text: _say(began, text))
            lost = sum(cell.tokens * len(runs) for cell, runs in found.items()) - lost - asyncio.run(pair.loaded())
    except Unavailable as why:
        sys.exit(f"Not measured here: {why}.")
    text = "\n".join(_page(found, lost, before)) + "\n"
    TARGET.write_text(text, encoding="utf-8")
    print(text)


def _say(began: float, text: str) -> None:
    print(f"{time.monotonic() - began:4.0f} s  {text}", file=sys.stderr, flush=True)


def _measured(pair: StreamedPair, line: Line, rates: Sequence[float], say: Callable[[str], None]) -> Found:
    """In rounds, streamed and not in turn: no cell has a bad minute alone. Prompts are drawn anew."""
    drawn = random.Random()
    found: dict[Cell, list[Run]] = {}
    for number in range(ROUNDS):
        for rate in rates:
            say(f"round {number + 1}: {rate:g} Mbit/s")
            line.shape(rate)
            for tokens in LENGTHS:
                for codec in CODECS:
                    for streamed in (False, True):
                        prompt = drawn.choices(VOCABULARY, k=tokens)
                        run = asyncio.run(pair.run(prompt, codec, streamed=streamed))
                        found.setdefault(Cell(tokens, codec, rate, streamed), []).append(run)
    return found


def _page(found: Found, lost: float, before: float) -> Iterator[str]:
    machine = Machine.here()
    yield "# KV that is sent while it is computed"
    yield ""
    yield from told(f"""Made by `.venv/bin/python -m benchmarks.kv_streamed` on {machine.cores} cores of {machine.cpu}
        ({platform.machine()}), {engine_version()}; load average {before:.1f} before and {os.getloadavg()[0]:.1f} at the
        end. Two engines with {MODEL.name} behind two agents, each pair in a network namespace of its own, between them
        a pair of virtual wires shaped both ways by `tc tbf`. The client asks the prefill engine through its agent and
        begins the decode leg with the ticket: when the prefill engine has answered, or when the agent says it, which is
        when the prompt begins to be computed. One request at a time, both ways in turn; prompts are drawn anew.
        Milliseconds from the request to the first token of the decode leg, medians of {ROUNDS}.
        Engines compute {TOKENS_PER_PASS:,} tokens a step. Tokens of KV that did not come:
        {lost:.0f}.""")
    yield ""
    yield from told("""The most that can be saved is the shorter of computing and sending, less the last layer of it; by
        this run's own times without streaming. All of it shares the cores: where the prefill leg takes longer streamed,
        computing waits for what sends, receives and waits beside it.""")
    yield ""
    yield "| tokens | steps | Mbit/s | KV | first token | streamed | saved | at most | prefill leg | streamed |"
    yield "|--:|--:|--:|---|--:|--:|--:|--:|--:|--:|"
    for tokens in LENGTHS:
        for rate in sorted({cell.mbit_per_s for cell in found}):
            for codec in CODECS:
                after, during = (found[Cell(tokens, codec, rate, streamed)] for streamed in (False, True))
                yield _row(tokens, rate, codec, after, during)


def _row(tokens: int, rate: float, codec: Codec, after: Sequence[Run], during: Sequence[Run]) -> str:
    first = [median(run.first_s for run in runs) for runs in (after, during)]
    prefill = [median(run.prefill_s for run in runs) for runs in (after, during)]
    ms = [f"{seconds * 1e3:.0f}" for seconds in (*first, *prefill)]
    most = min(prefill[0], first[0] - prefill[0]) * (1 - 1 / LAYERS) / first[0]
    steps = -(-tokens // TOKENS_PER_PASS)
    saved = f"{1 - first[1] / first[0]:.0%} | {most:.0%}"
    return f"| {tokens:,} | {steps} | {rate:g} | {codec} | {ms[0]} | {ms[1]} | {saved} | {ms[2]} | {ms[3]} |"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that engines and networks end
    main([float(rate) for rate in sys.argv[1:]] or RATES)
