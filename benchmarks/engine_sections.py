"""What is published of a plan's runs on real engines and in the simulator: sections of a file, each kept until anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from planner.demand import Floats


@dataclass(frozen=True, slots=True)
class Run:
    """One rate: what became of the requests, measured and simulated.

    `client_cores` and `foreign_cores` are what the client, and processes that have nothing to do with it all, took.
    """

    rate_rps: float
    ttft_s: Floats
    tpot_s: Floats
    simulated_ttft_s: Floats
    simulated_tpot_s: Floats
    client_cores: float
    foreign_cores: float
    latest_s: float


def joined(runs: Sequence[Run]) -> Run:
    """All requests of some runs at one rate, and of cores the mean."""
    latencies = ("ttft_s", "tpot_s", "simulated_ttft_s", "simulated_tpot_s")
    cores = ("client_cores", "foreign_cores")
    return Run(
        rate_rps=runs[0].rate_rps,
        **{name: np.concatenate([getattr(run, name) for run in runs]) for name in latencies},
        **{name: float(np.mean([getattr(run, name) for run in runs])) for name in cores},
        latest_s=max(run.latest_s for run in runs),
    )


def section(runs: Sequence[Run], shares: Sequence[float], target_error: float) -> str:
    """A table of all rates, and below it the worst median. `shares` are the rates as parts of the goodput."""
    lines = [
        "| requests/s | of goodput | requests | | measured ms | simulated ms | error |",
        "|--:|--:|--:|---|--:|--:|--:|",
    ]
    for run, share in zip(runs, shares, strict=True):
        head = f"| {run.rate_rps:.2f} | {share:.0%} | {len(run.ttft_s)} |"
        lines += [f"{head} {row}" for row in _rows(run)]
    client, foreign = (_shares(runs, name) for name in ("client_cores", "foreign_cores"))
    late_s = max(run.latest_s for run in runs)
    lines += [
        "",
        f"- Worst median: {max(map(_worst, runs)):.0%} (target {target_error:.0%}).",
        f"- The client took {client} of a core; its latest request left {late_s * 1e3:.0f} ms late.",
        f"- Processes that have nothing to do with this took {foreign} of a core.",
    ]
    return "\n".join(lines)


def put(path: Path, about: str, found: Mapping[str, str], *, order: Sequence[str]) -> None:
    """Write a file of sections by their titles, in this order; those that were not found anew stay as they are."""
    _, *parts = path.read_text(encoding="utf-8").split("\n## ") if path.exists() else ("",)
    known = {title: text.strip() for title, _, text in (part.partition("\n") for part in parts)} | dict(found)
    sections = [f"## {title}\n\n{known[title]}\n" for title in order if title in known]
    path.write_text("\n".join([about, *sections]), encoding="utf-8")


def _latencies(run: Run) -> list[tuple[str, Floats, Floats]]:
    return [("TTFT", run.ttft_s, run.simulated_ttft_s), ("TPOT", run.tpot_s, run.simulated_tpot_s)]


def _rows(run: Run) -> list[str]:
    rows = []
    for label, measured, simulated in _latencies(run):
        for percent in (50, 90):
            real, guess = (float(np.percentile(values, percent)) for values in (measured, simulated))
            rows.append(f"{label} p{percent} | {real * 1e3:.1f} | {guess * 1e3:.1f} | {guess / real - 1:+.0%} |")
    return rows


def _worst(run: Run) -> float:
    return max(abs(float(np.median(guess) / np.median(real)) - 1) for _, real, guess in _latencies(run))


def _shares(runs: Sequence[Run], name: str) -> str:
    return ", ".join(f"{getattr(run, name):.1%}" for run in runs)
