"""Row 1: the plan of the measured hosts, up and under load: what clients get, beside what was predicted."""

from typing import Any

from benchmarks.lab.hosts import FAST_MBIT
from benchmarks.lab.lab import SLO, Lab, Row
from benchmarks.lab.planning import best
from planner.evaluate import Measures

TITLE = "1. Measured against predicted"
SHARES, SECONDS, SEED = (0.4, 0.7), 30.0, 3
"""Of the goodput that simulation promises."""
COMPARED = (
    ("TTFT p50, ms", "ttft_p50_s", 1e3),
    ("TTFT p90, ms", "ttft_p90_s", 1e3),
    ("TPOT p50, ms", "tpot_p50_s", 1e3),
    ("TPOT p90, ms", "tpot_p90_s", 1e3),
    ("throughput, tokens/s", "throughput_tokens_per_s", 1.0),
)


def measured_against_predicted(lab: Lab) -> Row:
    """The phases that the planner's score prefers on these hosts, over fast lines."""
    lab.deploy()
    lab.shape(FAST_MBIT)
    drawing = lab.drawing(FAST_MBIT)
    use = best(list(drawing.uses()))
    goodput_rps = drawing.goodput_rps(use)
    lab.say(f"best: {', '.join(use.phases)}; {goodput_rps:.2f} requests/s simulated")
    plan = drawing.plan(use, goodput_rps)
    lab.deployment.up(plan)
    runs = []
    for share in SHARES:
        requests = lab.requests(share * goodput_rps, SECONDS, SEED)
        lab.say(f"{len(requests.arrival_s)} requests at {share * goodput_rps:.2f}/s")
        runs.append((share, lab.bench(requests), use.foreseen(plan, requests, SLO)))
    return Row(TITLE, [*_hosts(lab), "", *_about(lab, use.phases, goodput_rps), "", *_table(runs)], _found(runs))


def error(predicted: float, measured: float | None) -> float | None:
    """Predicted over measured, minus 1; None where nothing was measured."""
    return predicted / measured - 1 if measured else None


def _hosts(lab: Lab) -> list[str]:
    rows = [
        f"| {host.name} | {host.kind.cores:g} | {lab.speeds.prompt_s(name, lab.plan.llm, 256) * 1e3:.0f} | "
        f"{lab.speeds.step_s(name, lab.plan.llm, 4) * 1e3:.1f} |"
        for host, name in ((lab.host_of(one.id), one.id) for one in lab.plan.instances)
    ]
    return ["| host | of a core | prompt of 256 tokens, ms | step of 4 sequences, ms |", "|---|--:|--:|--:|", *rows]


def _about(lab: Lab, phases: tuple[str, ...], goodput_rps: float) -> list[str]:
    return [
        f"Fitted to what was measured of each host's engine through the router: mean error {lab.speeds.fit_error:.0%}.",
        f"Planned by that: {', '.join(phases)}; {goodput_rps:.2f} requests/s simulated. The same requests are sent and",
        "simulated; the error is predicted over measured, minus 1.",
    ]


def _table(runs: list[tuple[float, dict[str, Any], Measures]]) -> list[str]:
    lines = ["| of goodput | requests | | measured | predicted | error |", "|--:|--:|---|--:|--:|--:|"]
    for share, bench, expected in runs:
        for label, name, scale in COMPARED:
            predicted, measured = getattr(expected, name), bench[name]
            told = "–" if measured is None else f"{measured * scale:.0f}"
            off = error(predicted, measured)
            said = "–" if off is None else f"{off:+.0%}"
            lines.append(f"| {share:.0%} | {bench['requests']} | {label} | {told} | {predicted * scale:.0f} | {said} |")
    failed = sum(bench["failed"] for _, bench, _ in runs)
    return [*lines, "", f"Failed requests: {failed}."]


def _found(runs: list[tuple[float, dict[str, Any], Measures]]) -> dict[str, Any]:
    return {
        f"{share:g}": {name: {"measured": bench[name], "predicted": getattr(expected, name)} for _, name, _ in COMPARED}
        for share, bench, expected in runs
    }
