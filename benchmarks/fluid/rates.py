"""What each GPU type serves in each phase as the mixture changes, by the planner's own capacity functions."""

from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks.fluid.fleet import GPUS, MAX_MODEL_LEN, SLO
from benchmarks.fluid.load import mixture
from planner.demand import Floats
from planner.deployment import Plan
from planner.links import link_between
from planner.members import members_of
from planner.parallel.layouts import Capacities, best_codec
from planner.plan import task_of
from planner.procurement.fleet import running
from planner.rebalancing.phase_program import PHASES

STEP = 0.05
"""Mixtures are told apart by so much of coding."""


@dataclass(slots=True)
class Rates:
    """Requests/s of one replica: a row for each of GPUS, a column for each of PHASES. Each mixture is worked out once.

    A prefill replica hands its KV over a link as wide as the machines' own.
    """

    plan: Plan
    _known: dict[int, Floats] = field(default_factory=dict)

    def at(self, coding_share: float) -> Floats:
        step = round(coding_share / STEP)
        if step not in self._known:
            self._known[step] = self._worked_out(step * STEP)
        return self._known[step]

    def _worked_out(self, coding_share: float) -> Floats:
        alone = Capacities(task_of(self.plan.llm, mixture(coding_share), SLO, MAX_MODEL_LEN))
        of = running(alone, members_of(self.plan, {}))
        link = link_between(*self.plan.instances[:2], {})
        codec = best_codec(of.task, link)
        layouts = {member.instance.gpu: member.layout for member in members_of(_one_of_each(self.plan), {})}
        rows = []
        for gpu in GPUS:
            whole = [of.rps(layouts[gpu], phase) for phase in PHASES]
            rows.append([of.prefill_rps(layouts[gpu], link, codec), *whole[1:]])
        return np.array(rows)


def _one_of_each(plan: Plan) -> Plan:
    first = {one.gpu: one.id for one in reversed(plan.instances)}
    some = set(first.values())
    return replace(
        plan,
        instances=tuple(one for one in plan.instances if one.id in some),
        replicas=tuple(one for one in plan.replicas if one.instances[0] in some),
        routes=(),
    )
