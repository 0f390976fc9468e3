"""Two plans of a deployment side by side: money, promises, machines and phases. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from thunderctl import words
from thunderctl.fleet.crowds import crowds_of, is_crowded, machines_of
from thunderctl.web.figures import NOTHING, minute, rps
from thunderctl.web.topology import Topology, topology_of

Document = Mapping[str, Any]
NOTICEABLE = 0.005
"""A smaller difference, relative, is none; nor is one that is not seen as the figures are written."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of both. `better` is `a`, `b`, or empty where neither is."""

    name: str
    a: str
    b: str
    better: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """`only_a` and `only_b` are machines, `flips` replicas that both have, in another phase."""

    rows: tuple[Row, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    flips: tuple[tuple[str, str, str], ...]
    pictures: tuple[Topology, Topology]


def compare(a: Document, b: Document) -> Comparison:
    """Plans as `thunder.plan/v1` has them."""
    machines_a, machines_b = _machines(a), _machines(b)
    phases = {one["id"]: one["phase"] for one in a["replicas"]}
    return Comparison(
        (*_figures(a, b), *_shape(a, b)),
        tuple(text for key, text in machines_a.items() if key not in machines_b),
        tuple(text for key, text in machines_b.items() if key not in machines_a),
        tuple(
            (one["id"], phases[one["id"]], one["phase"])
            for one in b["replicas"]
            if phases.get(one["id"], one["phase"]) != one["phase"]
        ),
        (_picture(a), _picture(b)),
    )


def _picture(plan: Document) -> Topology:
    return topology_of(crowds_of(plan) if is_crowded(plan) else plan)


def _figures(a: Document, b: Document) -> Iterator[Row]:
    """What is simulated is called so by the table's heading."""
    was, will = a.get("predicted") or {}, b.get("predicted") or {}
    yield _row("Cost an hour", a.get("cost_usd_per_hour"), b.get("cost_usd_per_hour"), words.usd, more=False)
    yield _row("Goodput, requests/s", was.get("goodput_rps"), will.get("goodput_rps"), rps)
    yield _row("SLO attainment", was.get("slo_attainment"), will.get("slo_attainment"), words.share)
    for name, key in (
        ("TTFT p50", "ttft_p50_s"),
        ("TTFT p99", "ttft_p99_s"),
        ("TPOT p50", "tpot_p50_s"),
        ("TPOT p99", "tpot_p99_s"),
    ):
        yield _row(name, was.get(key), will.get(key), words.seconds, more=False)
    per_million = "usd_per_million_tokens"
    yield _row("Cost per million tokens", was.get(per_million), will.get(per_million), words.usd, more=False)


def _shape(a: Document, b: Document) -> Iterator[Row]:
    yield Row("Model", a["model"]["name"], b["model"]["name"])
    yield Row("Workload", _workload(a), _workload(b))
    yield Row("Replicas", _phases(a), _phases(b))
    yield Row("Machines", str(len(a["instances"])), str(len(b["instances"])))
    yield Row("Routes", _routes(a), _routes(b))
    yield Row("Made at, UTC", minute(a["created_at"]), minute(b["created_at"]))


def _row(name: str, a: float | None, b: float | None, write: Any, *, more: bool = True) -> Row:
    if a is None or b is None:
        return Row(name, NOTHING if a is None else write(a), NOTHING if b is None else write(b))
    gain = (b - a) * (1 if more else -1)
    noticed = abs(gain) > NOTICEABLE * max(abs(a), 1e-9) and write(a) != write(b)
    return Row(name, write(a), write(b), ("b" if gain > 0 else "a") if noticed else "")


def _machines(plan: Document) -> dict[tuple[str, str], str]:
    """By instance and offer, which is what tells whether one that runs is kept."""
    return {
        (one["id"], one["offer_id"]): f"{one['id']} · {one['gpu_count']} × {one['gpu']} · {one['provider']} · "
        f"{words.usd(one['usd_per_hour'])}/h"
        for one in plan["instances"]
    }


def _workload(plan: Document) -> str:
    found = plan.get("workload") or {}
    return f"{found.get('name', NOTHING)}, {rps(found.get('rate_rps'))}/s"


def _phases(plan: Document) -> str:
    counts = Counter(str(one["phase"]) for one in plan["replicas"])
    spanning = sum(len(machines_of(one)) > 1 for one in plan["replicas"])
    told = ", ".join(f"{count} {phase}" for phase, count in sorted(counts.items()))
    return f"{told}; {spanning} over several machines" if spanning else told


def _routes(plan: Document) -> str:
    codecs = sorted({str(one["codec"]) for one in plan["routes"]})
    return f"{len(plan['routes'])} ({', '.join(codecs)})"
