"""Time to the first token with KV that crosses slow lines, beside the cost model; writes `results/kv_crossover.md`.

.venv/bin/python -m benchmarks.kv_crossover

Two engines with the shipped model behind two agents, each pair in a network namespace, between them a line shaped by
`tc tbf`. First they are calibrated as `doctor --calibrate` does it, on the line as it is unshaped; then requests are
measured at each rate with each codec, and each is predicted from that calibration. Takes root, and eight minutes of a
machine that does nothing else.
"""

import asyncio
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.arguments import takes_none
from benchmarks.kv_crossover_cells import LENGTHS, ROUNDS, Cells, measured
from benchmarks.kv_crossover_model import PAYLOAD_SHARE, Model
from benchmarks.kv_crossover_pair import MODEL, engine_pair
from benchmarks.kv_crossover_scale import scale_section
from benchmarks.kv_crossover_tables import cell_sections, crossover_section, overlap_section, seen_of, told
from benchmarks.shaped_line import Unavailable, shaped_line
from planner.costmodel.calibrate import Fit, Handover, Row, fitted_to
from planner.costmodel.pace import pipeline_pace
from planner.gpus import gpu_named
from planner.llm import LlmSpec
from thunderctl.calibration.record import Machine
from thunderctl.calibration.sweep import Measurer, Sweep
from thunderctl.hosts.engine_environment import PROJECT, engine_python, engine_version
from thunderctl.spec.inputs import read_llm

TARGET = Path(__file__).parent / "results" / "kv_crossover.md"
SWEEP = Sweep(
    prompts=(32, 128, 512, 1024, 2048),
    steps=((1, 64), (4, 64), (16, 64), (1, 1024)),
    repeats=3,
    shared_tokens=32,
    shared_prompt=64,
)
"""What requests that are alone depend on: no long contexts, and next to nothing of engines at once."""


@dataclass(frozen=True, slots=True)
class Found:
    """`lost` are tokens of KV that were asked for and did not come."""

    rows: list[Row]
    cells: Cells
    lost: float
    load_before: float
    load_after: float


def main() -> None:
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:4.0f} s  {text}", file=sys.stderr, flush=True)

    try:
        found, llm = _found(say), read_llm(str(MODEL))
    except Unavailable as why:
        sys.exit(f"Not measured here: {why}.")
    say("the parts of a hop, one by one")
    parts = _parts()
    fit = fitted_to(found.rows, llm, gpu_named("CPU"), cores=Machine.here().cores)
    text = "\n".join(_page(found, fit, llm, parts))
    TARGET.write_text(text + "\n", encoding="utf-8")
    say(f"wrote {TARGET.name}")
    print(text)


def _found(say: Callable[[str], None]) -> Found:
    before = os.getloadavg()[0]
    say("engines start")
    with (
        tempfile.TemporaryDirectory(prefix="thunder-bench.") as folder,
        shaped_line() as line,
        engine_pair(Path(folder), line) as pair,
    ):
        measurer = Measurer(pair, SWEEP, lambda text: say(f"calibration: {text}"), random.Random())
        rows = asyncio.run(measurer.rows())
        came = -asyncio.run(pair.loaded())
        cells = measured(pair, line, say)
        came += asyncio.run(pair.loaded())
    asked = sum(cell.tokens * len(legs) for cell, legs in cells.items() if cell.mbit_per_s)
    return Found(rows, cells, asked - came, before, os.getloadavg()[0])


def _parts() -> Mapping[str, Mapping[str, float]]:
    command = [engine_python(), "-m", "benchmarks.kv_crossover_parts", *map(str, LENGTHS)]
    said = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    return dict(json.loads(said))


def _page(found: Found, fit: Fit, llm: LlmSpec, parts: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    assert fit.handover is not None, "transfers were measured"
    own = pipeline_pace(llm, fit.gpu.applied(gpu_named("CPU")), 1, (llm.layers,), nvlink=False)
    model = Model(llm, own, fit.handover)
    seen = seen_of(found.cells, model)
    yield from _header(found, fit, fit.handover)
    yield from cell_sections(seen)
    yield from crossover_section(seen, model)
    yield from overlap_section(seen, model, parts)
    yield from scale_section()


def _header(found: Found, fit: Fit, handover: Handover) -> Iterator[str]:
    machine = Machine.here()
    errors = [abs(guess / row.seconds - 1) for row, guess in zip(found.rows, fit.predicted_s, strict=True)]
    few, many = min(ROUNDS.values()), max(ROUNDS.values())
    rounds = ", ".join(f"{rate:g}" for rate, rounds in ROUNDS.items() if rounds == few)
    yield "# Sending KV over slow lines, or computing it where it is decoded"
    yield ""
    yield from told(f"""Made by `.venv/bin/python -m benchmarks.kv_crossover` on {machine.cores} cores of {machine.cpu}
        ({platform.machine()}), {engine_version()}; load average {found.load_before:.1f} before and
        {found.load_after:.1f} at the end. Two engines with {MODEL.name} behind two agents, each pair in a network
        namespace of its own, between them a pair of virtual wires shaped both ways by `tc tbf`. One request at a time;
        prompts are drawn anew, so prefix caches know none of them. The client stands where the router would: it sends
        the prefill leg, then the decode leg with its ticket. Milliseconds, medians of {many} requests ({few} at
        {rounds} Mbit/s), in rounds over all rows. Tokens of KV that did not come: {found.lost:.0f}.""")
    yield ""
    yield from told(f"""Predicted by the cost model, by the functions that plans and the simulator use, from a
        calibration of these two engines just before, over the same line unshaped: {len(errors)} rows, mean error
        {sum(errors) / len(errors):.0%}; a handover takes {handover.handover_ms:.1f} ms beside its bytes, and KV is
        packed and unpacked at {handover.codec_gb_per_s:.2f} GB/s each. Of the line rate {PAYLOAD_SHARE:.1%} is left for
        a flow by the headers of Ethernet, IP, TCP and TLS.""")
    yield ""
    yield from told("""With nothing else to do, an engine that computes the prompt itself always begins sooner than two
        that share the work: sending pays where the decode engine has better to do. So a codec's crossover is where the
        decode leg's first token comes as soon with KV that is sent as with KV that is computed there.""")


if __name__ == "__main__":
    takes_none(__doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that engines and networks end
    main()
