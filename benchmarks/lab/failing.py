"""Row 4: a host, a line, an agent, the router and the controller fail while requests come; what clients notice."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.lab.deployment import STEADY
from benchmarks.lab.harms import HARMS, Harm, Scene
from benchmarks.lab.hosts import SLOW_MBIT
from benchmarks.lab.lab import SLO, Lab, Row
from benchmarks.lab.load import failures_said, loading
from benchmarks.lab.planning import best
from planner.deployment import Phase, Plan

TITLE = "4. What fails"
SHARE, CALM_S, TROUBLED_S, SEED = 0.4, 8.0, 24.0, 13
LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Outlived:
    """One harm, once or more: what became of requests; and at worst until when they missed targets, how late a first
    token was, and until when all was as before, in seconds.
    """

    harm: Harm
    asked: int
    causes: Counter[str]
    troubled_s: float
    worst_ttft_s: float
    whole_s: float

    @property
    def failures(self) -> str:
        return failures_said(self.asked, self.causes)


def together(rounds: Sequence[Outlived]) -> Outlived:
    """The same harm several times."""
    return Outlived(
        rounds[0].harm,
        sum(one.asked for one in rounds),
        sum((one.causes for one in rounds), Counter()),
        max(one.troubled_s for one in rounds),
        max(one.worst_ttft_s for one in rounds),
        max(one.whole_s for one in rounds),
    )


def outlived(lab: Lab) -> Row:
    """Two hosts decode, so that streams have somewhere to go on."""
    lab.deploy()
    lab.shape(SLOW_MBIT)
    drawing = lab.drawing(SLOW_MBIT)
    use = best([one for one in drawing.uses() if one.is_split and one.phases.count(Phase.DECODE) > 1])
    rate_rps = SHARE * drawing.goodput_rps(use)
    plan = drawing.plan(use, rate_rps)
    lab.write_spec(STEADY)
    lab.deployment.up(plan)
    lab.until(lab.is_whole, "all replicas ready and routed")
    rounds = [[_outlived(lab, plan, harm, rate_rps) for harm in HARMS] for _ in range(lab.rounds)]
    found = [together(several) for several in zip(*rounds, strict=True)]
    again = f", {lab.rounds} times each, of which the worst is shown" if lab.rounds > 1 else ""
    about = [
        f"{', '.join(use.phases)} over lines of {SLOW_MBIT:g} Mbit/s, {rate_rps:.2f} requests/s for",
        f"{CALM_S + TROUBLED_S:.0f} s; after {CALM_S:.0f} s of these comes the harm{again}. A request has failed that",
        "was not answered whole. Targets:",
        f"TTFT {SLO.ttft_s:g} s, TPOT {SLO.tpot_s * 1e3:g} ms. What does not mend itself is mended after the load, and",
        "whole again counts from that.",
    ]
    return Row(TITLE, [*about, "", *_table(found)], {one.harm.name: _figures(one) for one in found})


def _outlived(lab: Lab, plan: Plan, harm: Harm, rate_rps: float) -> Outlived:
    host = lab.host_of(next(one.instances[0] for one in plan.replicas if one.phase == harm.phase))
    scene = Scene(lab, host)
    lab.traces.note(lab.hosts)
    lab.say(f"{harm.name} ({host.name})")
    requests = lab.requests(rate_rps, CALM_S + TROUBLED_S, SEED)
    whole_s = float("nan")
    with loading(lab.deployment.status()["endpoint"], requests, SLO, SEED) as load:
        load.wait_until(CALM_S)
        harmed_s = load.now_s
        harm.do(scene)
        if harm.mends_itself:
            time.sleep(LOOK_S)  # it takes a moment until anybody notices
            lab.until(lab.is_whole, f"{harm.name}: it mends itself")
            whole_s = load.now_s - harmed_s
    began = time.monotonic()
    harm.mend(scene)
    lab.until(lab.is_whole, f"{harm.name}: mended")
    if not harm.mends_itself:
        whole_s = time.monotonic() - began
    tally, troubled_s = load.tally, load.troubled_s(harmed_s)
    found = Outlived(harm, tally.begun, tally.causes, troubled_s, load.worst_ttft_s(harmed_s), whole_s)
    lab.say(f"  {found.failures} failed, {troubled_s:.1f} s of misses, whole after {whole_s:.0f} s")
    return found


def _table(found: Sequence[Outlived]) -> list[str]:
    rows = [
        f"| {one.harm.name} | {one.failures} | {one.troubled_s:.1f} | {one.worst_ttft_s:.1f} | {one.whole_s:.0f}, "
        f"{one.harm.told} |"
        for one in found
    ]
    head = "| | failed requests | targets missed for s | longest TTFT, s | whole again after s |"
    return [head, "|---|--:|--:|--:|---|", *rows]


def _figures(one: Outlived) -> dict[str, Any]:
    return {"asked": one.asked, "failed": dict(one.causes), "troubled_s": one.troubled_s, "whole_s": one.whole_s}
