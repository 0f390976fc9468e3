"""What `rebalance`, `drain` or `undrain` decided: phases and routes, shown, agreed to, put in force, and said."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from planner.errors import Refused
from thunderctl.cli import output
from thunderctl.cli.options import confirm

if TYPE_CHECKING:
    from planner.deployment import Phase, Plan
    from planner.rebalance import Rebalanced
    from thunderctl.observing.links import KnownLinks
    from thunderctl.world import World


@dataclass(frozen=True, slots=True)
class InForce:
    """The plan in force when the command ends, the number of its epoch, and how long putting it there took."""

    plan: "Plan"
    epoch: int
    applied_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Decided:
    """The plan in force when it was looked at, what was decided instead, and on which links.

    `lost` was left out, and `back` are replicas that it lacked. `pending`: the router does not follow it yet.
    """

    current: "Plan"
    lost: tuple[str, ...]
    rebalanced: "Rebalanced"
    known: "KnownLinks"
    back: tuple[str, ...] = ()
    pending: bool = False

    @property
    def wanted(self) -> "Plan":
        """The plan decided on."""
        return self.rebalanced.plan

    @property
    def changes(self) -> bool:
        """Whether it is another than the plan in force."""
        from thunderctl.deploying.lifecycle import differ

        return bool(self.lost) or bool(self.back) or self.pending or differ(self.current, self.wanted)


def serving(world: "World") -> "Plan":
    """The plan that is served now. Raises Refused if none is."""
    from thunderctl.deploying.lifecycle import plan_in_force

    current = plan_in_force(world)
    if current is None or not world.router.may_run:
        raise Refused(f"Deployment {world.name} is not serving.", hint="Bring it up first: thunderctl up")
    return current


def is_pending(world: "World", current: "Plan") -> bool:
    """Whether the routes in force are not the plan's: whoever wanted it was killed before they were."""
    routes = world.router.routes()
    return routes is not None and routes.plan_id not in ("", current.plan_id)


def carry_out(world: "World", decide: Callable[[], Decided], *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Decide, show, ask and put in force: anew where another plan was put in force while nobody answered."""
    while True:
        found = decide()
        if not as_json:
            _show(found)
        _warn(found.wanted)
        outcome: InForce | None = InForce(found.current, world.store.deployment(world.name).epoch)
        if found.changes and not dry_run:
            # It holds no lock: the controller goes on while nobody answers.
            confirm("Put these phases and routes in force?", yes=yes)
            outcome = _put_in_force(world, found)
        if outcome is not None:
            break
        output.narrate("Another plan was put in force meanwhile: deciding anew.")
    if as_json:
        output.print_json(document(found, outcome))
    elif not found.changes:
        output.narrate("Nothing to change: phases and routes are the best for this workload.")
    elif not dry_run:
        output.narrate(
            f"Epoch {outcome.epoch} in force: decided in {found.rebalanced.decide_s:.2f} s, confirmed by "
            f"simulation in {found.rebalanced.confirm_s:.2f} s, applied in {outcome.applied_s:.2f} s."
        )


def _put_in_force(world: "World", found: Decided) -> InForce | None:
    """None, with nothing done, if another plan is in force than the one that was looked at."""
    from thunderctl.deploying.lifecycle import flip, refuse_unready
    from thunderctl.observing.observe import observe_once

    with world.store.lock(world.name, "rebalance") as held:
        if serving(world) != found.current:
            return None
        seen = asyncio.run(observe_once(world))
        refuse_unready(found.wanted, seen)
        started = time.monotonic()
        epoch = asyncio.run(held.during(flip(world, found.wanted, seen.instances)))
        return InForce(found.wanted, epoch, time.monotonic() - started)


def document(decided: Decided, outcome: InForce) -> dict[str, Any]:
    """`predicted_before` is of the phases in force under the new workload, with what is to be drained and without what
    is lost or comes back; of the plan as it was made if they can't serve that."""
    from planner.document import plan_to_json
    from thunderctl.deploying.lifecycle import flips_between
    from thunderctl.observing.links import planned_links

    current, found = decided.current, decided.rebalanced
    after = plan_to_json(found.plan)
    return {
        "schema": "thunder.rebalance/v1",
        "decide_s": round(found.decide_s, 4),
        "confirm_s": round(found.confirm_s, 4),
        "apply_s": round(outcome.applied_s, 4),
        "epoch": outcome.epoch,
        "changes": decided.changes,
        "flips": [{"replica": f.replica, "from": f.before, "to": f.after} for f in flips_between(current, found.plan)],
        "back": list(decided.back),
        "routes": after["routes"],
        "links": [
            {
                "from": one.source,
                "to": one.target,
                "bandwidth_gbit_per_s": one.link.bandwidth_gbit_per_s,
                "latency_ms": one.link.latency_ms,
                "basis": one.basis,
            }
            for one in planned_links(found.plan, decided.known)
        ],
        "predicted_before": plan_to_json(found.before or current)["predicted"],
        "predicted_after": after["predicted"],
        "why": list(found.why),
        "plan_id": outcome.plan.plan_id,
    }


def _show(found: Decided) -> None:
    from thunderctl.cli.tables.links import FIGURES, planned_rows
    from thunderctl.cli.tables.plan import routes_table
    from thunderctl.observing.links import planned_links

    current, wanted = found.current, found.wanted
    after = {replica.id: replica.phase for replica in wanted.replicas}
    rows = [(r.id, str(r.phase), becomes(r.phase, after.get(r.id))) for r in current.replicas]
    rows += [(name, "drained", str(after[name])) for name in found.back]
    named = wanted.workload.name
    title = "For the observed workload" if named == "observed" else f"Phases for {named}"
    output.show(output.table(title, ("replica", "phase now", "becomes"), rows), routes_table(wanted))
    if links := planned_links(wanted, found.known):
        output.show(output.table("Links", *planned_rows(links), right=FIGURES))
    for sentence in found.rebalanced.why:
        output.narrate(sentence)


def _warn(wanted: "Plan") -> None:
    predicted = wanted.predicted.slo_attainment
    if predicted < wanted.slo.attainment:
        output.narrate(
            f"Warning: {predicted:.0%} of these requests are expected to meet the targets (wanted "
            f"{wanted.slo.attainment:.0%}): the rate is more than these machines serve."
        )


def becomes(before: "Phase", after: "Phase | None") -> str:
    """What a replica's phase changes to, in a word."""
    if after is None:
        return "left out"
    return "stays" if after is before else after
