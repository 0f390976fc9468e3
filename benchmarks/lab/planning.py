"""Plans of the lab's hosts in phases of one's choice, and what simulation says of them: by what each host was found to
do. A plan knows types of GPUs and not machines, so members are made here, each with the speed of its own host.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import permutations, product

import numpy as np

from benchmarks.lab.calibrating import Speeds
from planner.catalog import Link
from planner.choosing.candidate import Candidate
from planner.choosing.contest import Finding
from planner.choosing.drafting import Occasion, drafted
from planner.choosing.search import Search
from planner.deployment import Codec, Phase, Plan
from planner.document import plan_id
from planner.evaluate import Measures, measure, outcomes
from planner.lanes import Path, lanes_of, server_of
from planner.links import Links
from planner.members import Member, members_of
from planner.orchestration.strands import planned_hop
from planner.parallel.layouts import Capacities
from planner.plan import task_of
from planner.procurement.fleet import running
from planner.rebalancing.flips import formed
from planner.rebalancing.phase_program import PHASES
from planner.replay import arrivals_span_s
from planner.simulation.run import simulate
from planner.simulation.scenario import Epoch, Requests
from planner.workload import Slo, Workload

SEED = 7
CARRIED = 0.95
"""Of what a line is shaped to: the rest is headers."""

Phases = tuple[Phase, ...]
"""One a replica, in the plan's order."""


@dataclass(frozen=True, slots=True)
class Use:
    """One way to use the hosts."""

    phases: Phases
    chosen: Candidate

    @property
    def served_rps(self) -> float:
        """By the analytic score."""
        return self.chosen.pairing.served_rps

    @property
    def is_split(self) -> bool:
        return Phase.MIXED not in self.phases

    def foreseen(self, plan: Plan, requests: Requests, slo: Slo) -> Measures:
        """What clients would see of these very requests, simulated."""
        pairing = self.chosen.pairing
        places = {member.replica.id: place for place, member in enumerate(self.chosen.members)}
        paths = [Path(route, hop) for route, hop in zip(pairing.routes, pairing.hops, strict=True)]
        servers = [server_of(member) for member in self.chosen.members]
        timings = simulate(requests, servers, [Epoch(0.0, lanes_of(plan.llm, paths, places))], seed=SEED)
        return measure(outcomes(requests, timings), slo, timings.end_s, arrivals_span_s(requests))


@dataclass(frozen=True, slots=True)
class Drawing:
    """What all uses of the running hosts are drawn up from: the plan that runs there, what was measured, the demand."""

    current: Plan
    speeds: Speeds
    workload: Workload
    slo: Slo
    mbit_per_s: float
    codec: Codec | None = None

    def uses(self) -> Iterator[Use]:
        """Every designation of phases in which all hosts are of use."""
        search, members = self.search(), self.members()
        for numbers in product(range(len(PHASES)), repeat=len(members)):
            chosen = formed(search, self.current, members, np.array(numbers))
            if chosen is not None and len(chosen.pairing.in_use) == len(members):
                yield Use(tuple(PHASES[number] for number in numbers), chosen)

    def over(self, use: Use, codec: Codec) -> Use:
        """The same phases and shares over these lines, KV packed in this way; local routes as they are."""
        links = self.links()
        width = {"codec": codec, "bandwidth_gbit_per_s": self._gbit_per_s}
        chosen, members = use.chosen, {member.replica.id: member for member in use.chosen.members}
        routes = tuple(one if one.codec is Codec.LOCAL else replace(one, **width) for one in chosen.pairing.routes)
        hops = tuple(planned_hop(one, members[one.prefill], members[one.decode], links) for one in routes)
        return Use(use.phases, replace(chosen, pairing=replace(chosen.pairing, routes=routes, hops=hops)))

    def goodput_rps(self, use: Use) -> float:
        return self.search().goodput_rps(use.chosen)

    def plan(self, use: Use, rate_rps: float) -> Plan:
        """To be put in force. Its machines are called as they are; what it says of their GPUs is their median."""
        occasion = Occasion(datetime.now(UTC), self.current.market_as_of, "live", "goodput", self._budget, 0.0, 0, SEED)
        finding = Finding(use.chosen, rate_rps, use.served_rps)
        made = drafted(self.search().task, self.workload.at(rate_rps), finding, occasion)
        named = replace(made, instances=self.current.instances, calibrations=(self.speeds.usual,))
        return replace(named, plan_id=plan_id(named))

    def links(self) -> Links:
        """As wide as the lab shaped them, where a transfer can fill them, and as late as transfers were measured."""
        link = Link(self._gbit_per_s, self.speeds.handover.handover_ms)
        return dict.fromkeys(permutations([one.id for one in self.current.instances], 2), link)

    def members(self) -> list[Member]:
        """As fast as their own hosts; KV is packed as fast as was measured."""
        packing = {"codec_gb_per_s": self.speeds.handover.codec_gb_per_s}
        plan = replace(self.current, instances=tuple(replace(one, **packing) for one in self.current.instances))
        return [
            member
            for name, gpu in self.speeds.gpus.items()
            for member in members_of(plan, self.links(), {plan.instance(name).gpu: gpu})
            if member.instance.id == name
        ]

    def search(self) -> Search:
        task = task_of(self.current.llm, self.workload, self.slo, self.current.max_model_len)
        capacities = running(Capacities(task, self.codec), self.members())
        return Search(capacities, self._budget, self.links(), rent_all=True, seed=SEED)

    @property
    def _gbit_per_s(self) -> float:
        return min(self.mbit_per_s / 1000 * CARRIED, self.speeds.handover.bandwidth_gbit_per_s)

    @property
    def _budget(self) -> float:
        return self.current.budget_usd_per_hour


def best(uses: Sequence[Use]) -> Use:
    """The one that serves the most. Raises RuntimeError where there is none."""
    if not uses:
        raise RuntimeError("In no phases do the hosts meet the targets. Were they measured while something else ran?")
    return max(uses, key=lambda use: use.served_rps)
