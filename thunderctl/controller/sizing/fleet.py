"""One deployment's fleet as store and agents show it: the plan's instances with the machines that stand for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from planner.advice.startup import startup
from planner.deployment import Instance, Plan
from provisioners.leases.journal import LeaseRow, LeaseState
from thunderctl.controller.situation import Condition, Vital
from thunderctl.controller.sizing.view import Part
from thunderctl.fleet.leased_twice import chosen
from thunderctl.fleet.resting import Resting

REMEMBERED_S = 6 * 3600.0
"""For so long a machine that was released is thought to cost what it did last, where that is more than planned."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The deployment as store and agents show it now: the plan wanted, its replicas' conditions, and of its leases, the
    oldest first, those that ended in the last REMEMBERED_S and then those that may cost."""

    at: float
    plan: Plan
    planned_usd_per_hour: float
    resting: Resting
    rows: Sequence[LeaseRow]
    conditions: Mapping[str, Condition]
    transfer_usd_per_hour: float


def broken_in(fleet: Fleet) -> frozenset[str]:
    """The instances that replicas which are lost need."""
    dead = {name for name, condition in fleet.conditions.items() if condition.vital is Vital.LOST}
    return frozenset(name for one in fleet.plan.replicas if one.id in dead for name in one.instances)


def parts_of(fleet: Fleet) -> tuple[Part, ...]:
    """The plan's instances. One is ready where its machine is, and no replica on it is lost."""
    leases: dict[tuple[str, str], list[LeaseRow]] = {}
    for row in fleet.rows:
        leases.setdefault((row.instance, row.offer_id), []).append(row)
    broken = broken_in(fleet)
    starts: dict[tuple[str, str, float], float] = {}
    found = []
    for one in fleet.plan.instances:
        kind = (one.provider, one.gpu, one.inet_down_gbit_per_s)
        if kind not in starts:
            starts[kind] = startup(fleet.plan.llm, one).seconds
        rows = leases.get((one.id, one.offer_id), [])
        it = standing_for(rows)
        found.append(
            Part(
                one.id,
                one.offer_id,
                _known_usd(one, rows, fleet.at) if it is None else it.usd_per_hour,
                starts[kind],
                leased=it is not None,
                ready=it is not None and it.state is LeaseState.READY and one.id not in broken,
            )
        )
    return tuple(found)


def standing_for(rows: Sequence[LeaseRow]) -> LeaseRow | None:
    """Of the leases of one place in the plan, the one whose machine is the instance, or may cost as much."""
    return chosen(row for row in rows if row.state.runs) or next((row for row in rows if row.state.may_cost), None)


def _known_usd(one: Instance, rows: Sequence[LeaseRow], at: float) -> float:
    """What an instance without a machine is thought to cost."""
    last = [row for row in rows if at - (row.ended_at or row.created_at) <= REMEMBERED_S]
    return one.usd_per_hour if not last else max(one.usd_per_hour, last[-1].usd_per_hour)
