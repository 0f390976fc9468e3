"""Assessments whose runs are the fluid's: of 500 replicas, each simulated one would be a second of a processor."""

from typing import Any

from benchmarks.fluid.clocks import Work
from benchmarks.fluid.load import coding_in
from benchmarks.fluid.rates import Rates
from benchmarks.fluid.service import Curve, Fluid
from benchmarks.fluid.windows import rps_of
from planner.deployment import Plan
from planner.workload import Workload

JUDGED_S = 240.0


def by_fluid(rates: Rates, curve: Curve, in_thread: Work) -> Work:
    """Where assessments are worked out, by what a plan attains in JUDGED_S of a workload."""

    def score(_question: Any, plan: Plan, workload: Workload) -> float:
        rps = rps_of(plan, rates, coding_in(workload))
        shares = [(one.prefill, one.decode, one.share) for one in plan.routes]
        return Fluid(curve, plan.slo.ttft_s).attained(shares, rps, workload.rate_rps or 0.0, JUDGED_S)

    async def assess(work: Work, *given: Any, **known: Any) -> Any:
        return await in_thread(work, *given, score=score, **known)

    return assess
