"""How hard the self-flip benchmark asks: the lightest load that one division of phases serves and another does not."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from planner.deployment import Phase, Plan
from planner.errors import Infeasible
from planner.quick_rebalance import attainment, quick_rebalance
from planner.workload import Slo, Workload
from thunderctl.planning import make_plan
from thunderctl.spec.spec import load_spec

TTFT_S = 4.0
CODING, CONVERSATION = (600, 10), (60, 300)
PLANNED_RPS = 0.5
"""Requests/s of the first, which is what is planned for."""
TPOTS_S = tuple(0.004 * 1.25**step for step in range(15))
RATES_RPS = (0.5, 0.8, 1.2, 1.6, 2.0, 2.3, 2.6, 3.0, 3.5)
MOST_TARGETS = 10
"""So many targets for TPOT are tried, from the tightest that any plan meets on."""
FALLS_SHORT, RECOVERS = 0.1, 0.9
"""What other phases have to promise beyond those in force, and the attainment that they promise."""


SPEC = """[model]
name = "tiny-llama"
[engine]
max_model_len = 4096
[workload]
trace = "{trace}"
[slo]
ttft_s = {ttft_s}
tpot_s = {tpot_s:.5f}
[budget]
usd_per_hour = 0.06
[markets]
providers = ["local"]
[kv]
codec = "int4"
[serve]
listen = "127.0.0.1:0"
queue_s = 600
[controller]
assess_s = 2
window_s = 20
rebalance_margin = 0.02
rebalance_cool_down_s = 5
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """A spec, the rate at which its plan's phases fall short of the second workload, and what is expected then."""

    spec: str
    slo: Slo
    rate_rps: float
    now: float
    best: float


def setting(home: Path) -> Setting:
    """The lightest load under which the phases planned for the first workload fall short of the second."""
    trace = home / "coding.csv"
    rows = (
        f"{number / PLANNED_RPS:.1f},{prompt},{output}\n"
        for number, (prompt, output) in enumerate(lengths(CODING, 200, 1))
    )
    trace.write_text(f"arrival_s,prompt_tokens,output_tokens\n{''.join(rows)}")
    made = list(plans(home, trace))
    for rate_rps in RATES_RPS:
        for tpot_s, text, plan in made:
            talk = Workload("conversation-like", tuple(lengths(CONVERSATION, 200, 2)), rate_rps)
            other = quick_rebalance(plan, talk)
            if other is None or any(one.phase is Phase.MIXED for one in plan.replicas):
                continue
            now, best = attainment(plan, talk), attainment(other, talk)
            if best >= RECOVERS and best - now >= FALLS_SHORT:
                return Setting(text, Slo(TTFT_S, tpot_s), rate_rps, now, best)
    raise SystemExit("No target and rate were found that one division of phases serves and another does not.")


def plans(home: Path, trace: Path) -> Iterator[tuple[float, str, Plan]]:
    """A plan for each target that anything meets, the tightest first."""
    found = 0
    for tpot_s in TPOTS_S:
        text = SPEC.format(trace=trace, ttft_s=TTFT_S, tpot_s=tpot_s)
        (home / "thunder.toml").write_text(text)
        try:
            yield tpot_s, text, make_plan(load_spec(home / "thunder.toml"), lambda _: None)
        except Infeasible:
            continue
        found += 1
        if found == MOST_TARGETS:
            return


def lengths(mean: tuple[int, int], count: int, seed: int) -> list[tuple[int, int]]:
    """Prompt and output tokens, within 30 % of the means."""
    drawn = random.Random(seed)
    return [(int(mean[0] * drawn.uniform(0.7, 1.3)), int(mean[1] * drawn.uniform(0.7, 1.3))) for _ in range(count)]
