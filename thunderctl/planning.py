"""From a spec to plans: one, the best of several dtypes, one a budget, and why a plan is as it is."""

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from planner.choosing.progress import Report, unheard
from planner.errors import SpecError
from thunderctl.markets.market import read_market
from thunderctl.spec.inputs import forced_codec, read_llm, read_text, read_workload
from thunderctl.spec.places import router_is_away

if TYPE_CHECKING:
    from planner.advice.explain import Explanation
    from planner.advice.frontier import Point
    from planner.advice.token_cost import TokenCost
    from planner.deployment import Codec, Phase, Plan
    from planner.links import Links
    from planner.llm import LlmSpec
    from planner.market import Market
    from planner.parallel.layouts import Capacities
    from planner.plan import Goal
    from planner.substitute import Tried
    from planner.workload import Slo, Workload
    from thunderctl.spec.spec import Spec

Say = Callable[[str], None]


def silent(_: str) -> None:
    """Narrate to nobody."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the planner is given, already read and checked; `llms` are the model in every dtype that is allowed."""

    market: "Market"
    llms: "tuple[LlmSpec, ...]"
    workload: "Workload"
    slo: "Slo"
    max_model_len: int
    codec: "Codec | None"
    links: "Links"
    budget_usd_per_hour: float
    goal: "Goal"
    fixed: bool = False
    seed: int = 0
    known: "dict[LlmSpec, Capacities]" = field(default_factory=dict)
    """Capacities of layouts, which hold for every budget and goal."""

    def capacities(self, llm: "LlmSpec") -> "Capacities":
        from planner.parallel.layouts import Capacities
        from planner.plan import task_of

        if llm not in self.known:
            self.known[llm] = Capacities(task_of(llm, self.workload, self.slo, self.max_model_len), self.codec)
        return self.known[llm]


def plan_inputs(
    spec: "Spec",
    *,
    goal: str = "goodput",
    offers: Path | None = None,
    links: Path | None = None,
    fixed: bool = False,
    seed: int = 0,
    market: "Market | None" = None,
    rentable: bool = False,
    narrate: Say = silent,
) -> Inputs:
    """Read the model, the workload and, unless it is given, the market that a spec names. Raises SpecError.

    `rentable` and `narrate` are those of `read_market`.
    """
    from planner.links import links_from_csv
    from planner.plan import Goal
    from planner.router import seen_from_router
    from planner.workload import Slo

    if goal == Goal.COST and spec.workload.rate_rps is None:
        raise SpecError("The goal is cost and no rate is given; expected one.", hint="Add --rate, in requests/s.")
    llms = tuple(_llm(spec, dtype) for dtype in spec.model.dtypes or (spec.model.dtype,))
    stated = links_from_csv(read_text(links), str(links)) if links else {}
    workload = read_workload(spec)  # what is wrong with it is said before markets are asked
    found = market or read_market(spec, offers, rentable=rentable, narrate=narrate)
    return Inputs(
        market=replace(found, offers=seen_from_router(found.offers, stated, away=router_is_away(spec, os.environ))),
        llms=llms,
        workload=workload,
        slo=Slo(spec.slo.ttft_s, spec.slo.tpot_s, spec.slo.attainment),
        max_model_len=min(spec.engine.max_model_len, llms[0].max_positions),
        codec=forced_codec(spec),
        links=stated,
        budget_usd_per_hour=spec.budget.usd_per_hour,
        goal=Goal(goal),
        fixed=fixed,
        seed=seed,
    )


def make_plan(spec: "Spec", narrate: Say = silent, *, tried: "Collection[Tried]" = ()) -> "Plan":
    """The plan of a spec as it is written, from what can be rented now. Raises SpecError and Infeasible.

    Machines that were `tried` and of no use are left out, whatever they are sold as.
    """
    from planner.substitute import was_tried

    inputs = plan_inputs(spec, rentable=True, narrate=narrate)
    left = tuple(offer for offer in inputs.market.offers if not was_tried(offer, tried))
    if count := len(inputs.market.offers) - len(left):
        narrate(f"Left out {count} offers of machines that were of no use a few hours ago.")
    return plan_of(replace(inputs, market=replace(inputs.market, offers=left)))


def plan_of(inputs: Inputs, *, say: Say = silent, report: Report = unheard) -> "Plan":
    """The best plan, in the dtype that does best where there are several. Raises SpecError and Infeasible."""
    from planner.dtypes import best_dtype
    from planner.plan import plan

    def plan_for(llm: "LlmSpec") -> "Plan":
        if len(inputs.llms) > 1:
            say(f"{llm.name} with {llm.dtype} weights")
        return plan(
            inputs.market,
            llm,
            inputs.workload,
            inputs.slo,
            budget_usd_per_hour=inputs.budget_usd_per_hour,
            goal=inputs.goal,
            max_model_len=inputs.max_model_len,
            fixed=inputs.fixed,
            codec=inputs.codec,
            links=inputs.links,
            seed=inputs.seed,
            progress=say,
            report=report,
            known=inputs.capacities(llm),
        )

    return best_dtype(inputs.llms, plan_for, inputs.goal)


def frontier_of(
    inputs: Inputs, budgets: Sequence[float], *, say: Say = silent, report: Report = unheard
) -> "tuple[Point, ...]":
    """A plan for each budget. Raises SpecError, and Infeasible where no budget has one."""
    from planner.advice.frontier import frontier

    def plan_within(budget: float) -> "Plan":
        say(f"budget {budget:g} $/h")
        return plan_of(replace(inputs, budget_usd_per_hour=budget), report=report)

    return frontier(budgets, plan_within)


def explanation_of(inputs: Inputs, plan: "Plan") -> "Explanation":
    """Why the plan that these inputs gave is as it is."""
    from planner.advice.explain import explained

    return explained(
        plan,
        inputs.capacities(plan.llm),
        inputs.market.offers,
        links=inputs.links,
        fixed=inputs.fixed,
        seed=inputs.seed,
    )


def token_costs_of(inputs: Inputs, phase: "Phase") -> "tuple[TokenCost, ...]":
    """What a token costs on each offer that the engine can run on, the cheapest of a phase first."""
    from planner.advice.token_cost import ranked, token_costs
    from planner.requirements import fitness

    llm = inputs.llms[0]
    return ranked(token_costs(inputs.capacities(llm), fitness(llm, inputs.market.offers).fit), phase)


def _llm(spec: "Spec", dtype: str) -> "LlmSpec":
    llm = read_llm(spec.model.name, dtype)
    return llm if spec.model.revision == "main" else replace(llm, revision=spec.model.revision)
