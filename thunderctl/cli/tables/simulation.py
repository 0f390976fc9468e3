"""A simulated run as a table, as `thunder.simulation/v1`, and as one CSV row a request."""

import csv
import re
from collections.abc import Iterator
from dataclasses import asdict
from io import StringIO
from typing import TYPE_CHECKING, Any

from thunderctl.cli.output import table

if TYPE_CHECKING:
    from rich.table import Table

    from planner.deployment import Plan
    from planner.replay import Replay
    from planner.simulation.scenario import Requests

COLUMNS = (
    "request",
    "arrival_s",
    "prompt_tokens",
    "output_tokens",
    "outcome",
    "first_token_s",
    "finish_s",
    "ttft_s",
    "tpot_s",
    "epoch",
    "prefill",
    "decode",
    "preemptions",
)
"""`request` counts all in order of arrival from 0, those rejected as too long included; times are of the run's clock.

`outcome` is completed, lost or rejected; what a request never had is empty.
"""

REJECTED = ("rejected", *[""] * (len(COLUMNS) - COLUMNS.index("outcome") - 1))
PERCENTILE = re.compile(r".*_p\d+_s$")
NONE = "–"
UNCALIBRATED = "uncalibrated: no measurements of some of its GPUs, or of such a model, are behind these figures"


def simulation_table(found: "Replay", plan: "Plan", *, wall_s: float) -> "Table":
    """The summary for people."""
    measures, slo = found.measures, plan.slo
    lost = f", {found.lost} lost" if found.lost else ""
    rows = [
        (
            "requests",
            f"{measures.requests} in {measures.duration_s:.0f} s{lost}; {found.rejected} more rejected as too long",
        ),
        ("attainment", f"{measures.slo_attainment:.1%} (target {slo.attainment:.0%})" if measures.requests else NONE),
        ("goodput", f"{measures.goodput_rps:.2f} requests/s" if measures.requests else NONE),
        ("sustains", _sustains(found, plan)),
        ("throughput", f"{measures.throughput_tokens_per_s:,.0f} tokens/s" if measures.completed else NONE),
        ("TTFT", _latencies(measures.ttft_p50_s, measures.ttft_p90_s, measures.ttft_p99_s)),
        ("TPOT", _latencies(measures.tpot_p50_s, measures.tpot_p90_s, measures.tpot_p99_s)),
        ("KV moved", f"{found.kv_bytes / 1e9:.3g} GB"),
        ("busy", ", ".join(f"{name} {share:.0%}" for name, share in found.busy_share.items())),
        *([("preempted", f"{found.preemptions} times, for want of KV memory")] if found.preemptions else []),
        *(("event", f"{mark.text} at {mark.at_s:g} s") for mark in found.marks),
        *([] if plan.predicted.calibrated else [("note", UNCALIBRATED)]),
    ]
    return table(f"Simulated in {wall_s:.2f} s", ("", ""), rows)


def simulation_json(found: "Replay", plan: "Plan", *, seed: int, wall_s: float) -> dict[str, Any]:
    """`thunder.simulation/v1`. Percentiles are null where nothing ended that they could be of."""
    columns = zip(found.replicas, found.phases, found.kv_tokens, found.timings.peak_kv.tolist(), strict=True)
    return {
        "schema": "thunder.simulation/v1",
        **{name: _known(name, value) for name, value in asdict(found.measures).items()},
        "arrival_rate_rps": found.arrival_rate_rps,
        "meets_target": _meets_target(found, plan),
        "rejected": found.rejected,
        "lost": found.lost,
        "preemptions": found.preemptions,
        "calibrated": plan.predicted.calibrated,
        "seed": seed,
        "wall_s": round(wall_s, 4),
        "kv_bytes": found.kv_bytes,
        "events": [{"at_s": mark.at_s, "what": mark.text} for mark in found.marks],
        "replicas": [
            {
                "id": name,
                "phase": phase,
                "busy_share": round(found.busy_share[name], 4),
                "kv_capacity_tokens": kv_tokens,
                "kv_peak_tokens": round(peak),
            }
            for name, phase, kv_tokens, peak in columns
        ],
    }


def _meets_target(found: "Replay", plan: "Plan") -> bool | None:
    """Did the share of requests that the SLO asks for meet it, in this run? None where there were none."""
    return found.measures.slo_attainment >= plan.slo.attainment if found.measures.requests else None


def _sustains(found: "Replay", plan: "Plan") -> str:
    """Goodput is what met the SLO; a plan's own goodput is the rate of which the target's share does."""
    met = _meets_target(found, plan)
    if met is None or not found.arrival_rate_rps:
        return NONE
    return (
        f"{found.arrival_rate_rps:.2f} requests/s at {plan.slo.attainment:.0%}: {'yes' if met else 'no'}, in this run "
        f"(the plan's goodput at {plan.slo.attainment:.0%}: {plan.predicted.goodput_rps:.2f})"
    )


def _latencies(p50_s: float, p90_s: float, p99_s: float) -> str:
    """No token takes no time: 0 says that there was none."""
    return f"p50 {p50_s:.3g} s, p90 {p90_s:.3g} s, p99 {p99_s:.3g} s" if p99_s > 0 else NONE


def _known(name: str, value: float) -> float | None:
    return None if value == 0 and PERCENTILE.match(name) else value


def requests_csv(asked: "Requests", found: "Replay") -> str:
    """One row a request asked for, in order of arrival."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_rows(asked, found))
    return text.getvalue()


def _rows(asked: "Requests", found: "Replay") -> Iterator[list[object]]:
    """Those played and those rejected, one after the other as they arrived."""
    played = dict(zip(found.numbers.tolist(), _played(found), strict=True))
    columns = (asked.arrival_s, asked.prompt.astype(int), asked.output.astype(int))
    for number, (arrival_s, prompt, output) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        yield [number, f"{arrival_s:.6f}", prompt, output, *played.get(number, REJECTED)]


def _played(found: "Replay") -> Iterator[list[object]]:
    """What became of each request that was admitted: from its outcome on."""
    from planner.evaluate import outcomes

    scored, timings = outcomes(found.requests, found.timings), found.timings
    seconds = (timings.first_s, timings.last_s, scored.ttft_s, scored.tpot_s)
    routes = (timings.epoch + 1, timings.prefill, timings.decode, timings.preemptions)
    for done, *times, epoch, prefill, decode, preemptions in zip(
        *(column.tolist() for column in (scored.done, *seconds, *routes)), strict=True
    ):
        ends = [found.replicas[end] if end >= 0 else "" for end in (prefill, decode)]
        shown = [f"{time:.6f}" if done else "" for time in times]
        yield ["completed" if done else "lost", *shown, epoch, *ends, preemptions]
