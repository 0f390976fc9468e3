"""Write `benchmarks/results/through_failure.json`: attainment over time as a replica is lost. All of it is simulated.

Run by `.venv/bin/python -m benchmarks.through_failure`; it needs nothing but the project. The plan is the one that
ThunderServe publishes for coding (`published_coding.plan.json`); its largest prefill replica is lost while requests
come at a steady rate. Once only the router acts, which goes on over the routes that are left; once the controller
rebalances phases too, whose routes are in force some seconds later. `make figures` draws it.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.arguments import takes_none
from planner.deployment import Plan
from planner.document import plan_from_json
from planner.evaluate import outcomes
from planner.rebalance import rebalance
from planner.replay import replay
from planner.traces import workload_named
from thunderctl.cli.stream import Stream, asked_requests

RESULTS = Path(__file__).parent / "results"
PLAN, TARGET = RESULTS / "published_coding.plan.json", RESULTS / "through_failure.json"
LOST, RATE_RPS, LOST_AT_S, IN_FORCE_S, LASTS_S = "r7", 2.6, 120.0, 3.0, 480.0
"""`IN_FORCE_S`: what the controller is held to, from the loss until new routes are in force (benchmarks.failover)."""
WINDOW_S, RUNS = 10.0, 20
Counts = npt.NDArray[np.int64]


def main() -> None:
    plan = plan_from_json(json.loads(PLAN.read_text()))
    made = rebalance(plan, workload_named(plan.workload.name).at(RATE_RPS), lost=[LOST])
    ways: dict[str, tuple[tuple[float, Plan], ...]] = {
        "router": (),
        "controller": ((LOST_AT_S + IN_FORCE_S, with_lost(made.plan, plan)),),
    }
    document = {
        "made_by": "python -m benchmarks.through_failure",
        "plan": PLAN.name,
        "lost": LOST,
        "rate_rps": RATE_RPS,
        "lost_at_s": LOST_AT_S,
        "in_force_s": IN_FORCE_S,
        "window_s": WINDOW_S,
        "runs": RUNS,
        "attainment_target": plan.slo.attainment,
        "ttft_s": plan.slo.ttft_s,
        "tpot_s": plan.slo.tpot_s,
        "why": list(made.why),
        "attainment": {name: attained(plan, later) for name, later in ways.items()},
    }
    TARGET.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"Wrote {TARGET.name}", file=sys.stderr)


def with_lost(anew: Plan, plan: Plan) -> Plan:
    """What a run changes to names the same replicas: the lost one too, to which nothing is routed."""
    known = {replica.id: replica for replica in anew.replicas}
    replicas = tuple(known.get(replica.id, replica) for replica in plan.replicas)
    return replace(anew, instances=plan.instances, replicas=replicas)


def attained(plan: Plan, later: tuple[tuple[float, Plan], ...]) -> list[float]:
    """The share of each window's arrivals that met the SLO, of all runs together; what was lost has not."""
    met, arrived = (sum(counts) for counts in zip(*_runs(plan, later), strict=True))
    return [round(float(share), 4) for share in met / np.maximum(arrived, 1)]


def _runs(plan: Plan, later: tuple[tuple[float, Plan], ...]) -> Iterator[tuple[Counts, Counts]]:
    edges = np.arange(0.0, LASTS_S + WINDOW_S / 2, WINDOW_S)
    for seed in range(RUNS):
        requests = asked_requests(plan, Stream(None, RATE_RPS, LASTS_S, None, None, None, seed))
        run = replay(plan, requests, later=later, failures=[(LOST_AT_S, LOST)], seed=seed)
        found = outcomes(run.requests, run.timings)
        met = found.done & (found.ttft_s <= plan.slo.ttft_s) & (found.tpot_s <= plan.slo.tpot_s)
        arrival_s = run.requests.arrival_s
        yield np.histogram(arrival_s[met], edges)[0], np.histogram(arrival_s, edges)[0]


if __name__ == "__main__":
    takes_none(__doc__)
    main()
