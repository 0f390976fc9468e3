"""Row 2: phases apart against both on every host, on lines fast and slow, KV as it is and in 4 bits; and whether the
planner foresaw which is better."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

from benchmarks.lab.hosts import FAST_MBIT, SLOW_MBIT
from benchmarks.lab.lab import SLO, Lab, Row
from benchmarks.lab.planning import Drawing, Use, best
from planner.deployment import Codec, Phase
from planner.evaluate import Measures

TITLE = "2. Split or colocated, fast or slow lines, raw or int4"
SHARE, SECONDS, SEED = 0.5, 24.0, 5
"""Of the goodput of whichever serves less on fast lines."""
APART = 0.1
"""Two medians are told apart from this share of the larger on; the order of closer ones is chance."""
WAYS = (("split, raw", Codec.RAW), ("split, int4", Codec.INT4))
LINES = (FAST_MBIT, SLOW_MBIT)


@dataclass(frozen=True, slots=True)
class Tried:
    """One way to use the hosts: what clients got, and what was simulated of the same requests."""

    name: str
    bench: dict[str, Any]
    expected: Measures


def split_against_colocated(lab: Lab) -> Row:
    lab.deploy()
    fast = lab.drawing(FAST_MBIT, Codec.RAW)
    uses = list(fast.uses())
    together = best([use for use in uses if set(use.phases) == {Phase.MIXED}])
    apart = best([use for use in uses if use.is_split])
    rate_rps = SHARE * min(fast.goodput_rps(one) for one in (together, apart))
    requests = lab.requests(rate_rps, SECONDS, SEED)

    def tried(name: str, drawing: Drawing, use: Use) -> Tried:
        lab.say(f"{name} at {rate_rps:.2f} requests/s")
        plan = drawing.plan(use, rate_rps)
        lab.deployment.up(plan)
        return Tried(name, lab.bench(requests), use.foreseen(plan, requests, SLO))

    lab.shape(FAST_MBIT)
    found = [tried("colocated", fast, together)]
    for mbit_per_s in LINES:
        lab.shape(mbit_per_s)
        for name, codec in WAYS:
            drawing = lab.drawing(mbit_per_s, codec)
            found.append(tried(f"{name}, {mbit_per_s:g} Mbit/s", drawing, drawing.over(apart, codec)))
    lab.shape(FAST_MBIT)
    about = [
        f"Proof of mechanism on few cores. Split: {', '.join(apart.phases)}. All at {rate_rps:.2f} requests/s,",
        f"the same {len(requests.arrival_s)} requests; what is colocated moves no KV, so its lines are no matter.",
    ]
    return Row(TITLE, [*about, "", *_table(found), "", *_orders(found)], {one.name: _figures(one) for one in found})


def pairs_foreseen(measured: Sequence[float], expected: Sequence[float]) -> tuple[int, int]:
    """Of all pairs of ways that were measured `APART`: in how many the one that was simulated to be less was less."""
    every = combinations(range(len(measured)), 2)
    pairs = [(a, b) for a, b in every if abs(measured[a] - measured[b]) > APART * max(measured[a], measured[b])]
    same = [(measured[a] < measured[b]) == (expected[a] < expected[b]) for a, b in pairs]
    return sum(same), len(pairs)


def _table(found: Sequence[Tried]) -> list[str]:
    head = "| | TTFT p50, ms | simulated | TPOT p50, ms | simulated | KV moved, MB | failed |"
    rows = [
        f"| {one.name} | {_ms(one.bench['ttft_p50_s'])} | {_ms(one.expected.ttft_p50_s)} | "
        f"{_ms(one.bench['tpot_p50_s'], 1)} | {_ms(one.expected.tpot_p50_s, 1)} | "
        f"{(one.bench['kv_bytes'] or 0) / 1e6:.1f} | {one.bench['failed']} |"
        for one in found
    ]
    return [head, "|---|--:|--:|--:|--:|--:|--:|", *rows]


def _orders(found: Sequence[Tried]) -> list[str]:
    return [_order(found, label, name) for label, name in (("TTFT", "ttft_p50_s"), ("TPOT", "tpot_p50_s"))]


def _order(found: Sequence[Tried], label: str, name: str) -> str:
    measured, expected = [one.bench[name] for one in found], [getattr(one.expected, name) for one in found]
    same, of = pairs_foreseen(measured, expected)
    alike = comb(len(found), 2) - of
    close = f"; {alike} more were measured within {APART:.0%} of each other" if alike else ""
    return f"- By the median {label}, the planner foresaw the order of {same} of {of} pairs{close}."


def _figures(one: Tried) -> dict[str, Any]:
    names = ("ttft_p50_s", "ttft_p90_s", "tpot_p50_s", "tpot_p90_s")
    return {name: {"measured": one.bench[name], "simulated": getattr(one.expected, name)} for name in names}


def _ms(seconds: float | None, digits: int = 0) -> str:
    return "–" if seconds is None else f"{seconds * 1e3:.{digits}f}"
