"""A simulated run as a table, as `thunder.simulation/v1`, and as one CSV row a request."""

import csv
from collections.abc import Iterator
from dataclasses import asdict
from io import StringIO
from typing import TYPE_CHECKING, Any

from thunderctl.cli.output import table

if TYPE_CHECKING:
    from rich.table import Table

    from planner.replay import Replay
    from planner.workload import Slo

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
"""`request` counts those played in order of arrival from 0, too long ones included; times are of the run's clock."""


def simulation_table(found: "Replay", slo: "Slo", *, wall_s: float) -> "Table":
    """The summary for people."""
    measures = found.measures
    lost = f", {found.lost} lost" if found.lost else ""
    rows = [
        (
            "requests",
            f"{measures.requests} in {measures.duration_s:.0f} s, {found.rejected} rejected as too long{lost}",
        ),
        ("attainment", f"{measures.slo_attainment:.1%} (target {slo.attainment:.0%})"),
        ("goodput", f"{measures.goodput_rps:.2f} requests/s"),
        ("throughput", f"{measures.throughput_tokens_per_s:,.0f} tokens/s"),
        ("TTFT", f"p50 {measures.ttft_p50_s:.3g} s, p90 {measures.ttft_p90_s:.3g} s, p99 {measures.ttft_p99_s:.3g} s"),
        ("TPOT", f"p50 {measures.tpot_p50_s:.3g} s, p90 {measures.tpot_p90_s:.3g} s, p99 {measures.tpot_p99_s:.3g} s"),
        ("KV moved", f"{found.kv_bytes / 1e9:.3g} GB"),
        ("busy", ", ".join(f"{name} {share:.0%}" for name, share in found.busy_share.items())),
        *([("preempted", f"{found.preemptions} times, for want of KV memory")] if found.preemptions else []),
        *(("event", f"{mark.text} at {mark.at_s:g} s") for mark in found.marks),
    ]
    return table(f"Simulated in {wall_s:.2f} s", ("", ""), rows)


def simulation_json(found: "Replay", *, seed: int, wall_s: float) -> dict[str, Any]:
    """`thunder.simulation/v1`."""
    columns = zip(found.replicas, found.phases, found.kv_tokens, found.timings.peak_kv.tolist(), strict=True)
    return {
        "schema": "thunder.simulation/v1",
        **asdict(found.measures),
        "rejected": found.rejected,
        "lost": found.lost,
        "preemptions": found.preemptions,
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


def requests_csv(found: "Replay") -> str:
    """One row a request, in order of arrival."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_rows(found))
    return text.getvalue()


def _rows(found: "Replay") -> Iterator[list[object]]:
    from planner.evaluate import outcomes

    scored, timings, requests = outcomes(found.requests, found.timings), found.timings, found.requests
    seconds = (timings.first_s, timings.last_s, scored.ttft_s, scored.tpot_s)
    lengths = (requests.prompt.astype(int), requests.output.astype(int))
    routes = (timings.epoch + 1, timings.prefill, timings.decode, timings.preemptions)
    columns = (found.numbers, requests.arrival_s, *lengths, scored.done, *seconds, *routes)
    for number, arrival_s, prompt, output, done, *times, epoch, prefill, decode, preemptions in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        ends = [found.replicas[end] if end >= 0 else "" for end in (prefill, decode)]
        shown = [f"{time:.6f}" if done else "" for time in times]
        outcome = "completed" if done else "lost"
        yield [number, f"{arrival_s:.6f}", prompt, output, outcome, *shown, epoch, *ends, preemptions]
