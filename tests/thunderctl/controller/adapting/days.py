"""Simulated days on which coding and conversation take turns, with the controller's own assessments and policy.

What is observed depends on what arrives alone, so a day is lived first, and then played once with the changes that were
made and once without. Flips take effect at once, as in the real router; requests under way end where they began.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from planner.demand import demand_of
from planner.deployment import Plan
from planner.evaluate import outcomes, requests_at
from planner.quick_rebalance import quick_rebalance
from planner.replay import replay
from planner.simulation.scenario import Requests
from planner.traces import workload_named
from planner.workload import Slo, Workload
from tests.planner.search.fleets import plan_of
from thunderctl.controller.adapting.assess import Scorer, Searcher, assess, searched, simulated
from thunderctl.controller.adapting.assessment import Question
from thunderctl.controller.adapting.drift import Change, Drift, Pace
from thunderctl.demand import observed_workload

HOUR_S = 3600.0
CODING, CONVERSATION = workload_named("coding"), workload_named("conversation")


@dataclass(frozen=True, slots=True)
class Spell:
    """Seconds of one workload at one rate."""

    start_s: float
    end_s: float
    workload: Workload


@dataclass(frozen=True, slots=True)
class Day:
    """What arrives, and by which spells."""

    spells: tuple[Spell, ...]
    requests: Requests

    @property
    def end_s(self) -> float:
        return self.spells[-1].end_s


@dataclass(frozen=True, slots=True)
class Lived:
    """The changes made on a day, oldest first, with the plan that each put in force."""

    changes: tuple[Change, ...]
    plans: tuple[Plan, ...]
    assessments: int

    @property
    def flips(self) -> int:
        return sum(len(one.flips) for one in self.changes)


def fleet(cards: int = 4) -> Plan:
    """So many L4s in one network, a replica of qwen3-8b on each, which is little: the wrong phases cost a lot."""
    return replace(plan_of([("L4", (1,))] * cards), slo=Slo(ttft_s=4.0, tpot_s=0.075))


def suiting(plan: Plan, *workloads: Workload) -> Plan:
    """The plan with the phases and routes that suit these best, as one."""
    lengths = tuple(pair for one in workloads for pair in one.lengths)
    found = quick_rebalance(plan, Workload("all", lengths, 1.0))
    assert found is not None
    return found


def swinging(seed: int, dwell_s: float, rates: tuple[float, float], hours: float = 24.0) -> Day:
    """Coding and conversation in turn, each for about `dwell_s` (half of it more or less), at rates within a range."""
    random = np.random.default_rng(seed)
    spells: list[Spell] = []
    at = 0.0
    while at < hours * HOUR_S:
        end = min(at + dwell_s * random.uniform(0.5, 1.5), hours * HOUR_S)
        base = CONVERSATION if len(spells) % 2 == 0 else CODING
        spells.append(Spell(at, end, base.at(float(random.uniform(*rates)))))
        at = end
    return Day(tuple(spells), _arrivals(spells, seed))


def lived(
    plan: Plan,
    day: Day,
    *,
    pace: Pace,
    assess_s: float,
    window_s: float = 120.0,
    score: Scorer = simulated,
    search: Searcher = searched,
) -> Lived:
    """A day with this plan in force at first, and the policy at work."""
    drift, changes, plans, looks = Drift(pace), [], [plan], 0
    for at in np.arange(assess_s, day.end_s, assess_s).tolist():
        seen = seen_at(day.requests, at, window_s, plans[-1])
        question = Question(at, len(plans), plans[-1], seen, drift.past(at, changes), known=drift.last)
        drift = drift.after(assess(question, least_gain=pace.least_gain(moved=False), score=score, search=search))
        looks += 1
        if drift.verdict(changes).acts:
            assert drift.last is not None
            assert drift.last.plan is not None
            changes.append(Change(at, {one.replica: (one.before, one.after) for one in drift.last.flips}))
            plans.append(drift.last.plan)
    return Lived(tuple(changes), tuple(plans[1:]), looks)


def hourly(plan: Plan, day: Day, made: Lived | None = None) -> tuple[np.ndarray, float]:
    """Attainment of each hour's arrivals, and of all of the day's."""
    later = [(change.at, other) for change, other in zip(made.changes, made.plans, strict=True)] if made else []
    played = replay(plan, day.requests, later=later, seed=1)
    found = outcomes(played.requests, played.timings)
    met = found.done & (found.ttft_s <= plan.slo.ttft_s) & (found.tpot_s <= plan.slo.tpot_s)
    hour = (played.requests.arrival_s // HOUR_S).astype(int)
    return np.array([met[hour == one].mean() for one in range(hour.max() + 1)]), float(met.mean())


def seen_at(requests: Requests, at: float, window_s: float, plan: Plan) -> Workload | None:
    """What a router would have seen in its window."""
    first, last = np.searchsorted(requests.arrival_s, [max(0.0, at - window_s), at])
    pairs = list(zip(requests.prompt[first:last].tolist(), requests.output[first:last].tolist(), strict=True))
    return observed_workload({"lengths": pairs, "rate_rps": len(pairs) / min(window_s, at)}, plan)


def _arrivals(spells: Sequence[Spell], seed: int) -> Requests:
    made = []
    for number, spell in enumerate(spells):
        assert spell.workload.rate_rps is not None
        length_s = spell.end_s - spell.start_s
        found = requests_at(spell.workload.rate_rps, demand_of(spell.workload, 8192), length_s, seed=seed + number)
        there = found.arrival_s < length_s
        made.append((found.arrival_s[there] + spell.start_s, found.prompt[there], found.output[there]))
    return Requests(*(np.concatenate(column) for column in zip(*made, strict=True)))
