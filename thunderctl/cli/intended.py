"""What `up` would do: the plan it goes on with or makes, and the steps that are left of it."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from thunderctl.cli import output

if TYPE_CHECKING:
    from planner.deployment import Plan
    from planner.reconcile import Step
    from thunderctl.fleet.resting import Resting
    from thunderctl.spec.spec import Spec
    from thunderctl.world import World


@dataclass(frozen=True, slots=True)
class Intended:
    """What `up` would do: the plan, the spec it is brought up with, and the steps. `after` was in force before.

    `resting` is what of the plan stays at rest.
    """

    wanted: "Plan"
    written: "Spec"
    steps: "tuple[Step, ...]"
    after: str
    resting: "Resting"

    def is_within(self, agreed: "Intended | None") -> bool:
        """Whether somebody who agreed to that has agreed to this: the same plan, and no step that was not shown."""
        return agreed is not None and self.wanted == agreed.wanted and set(self.steps) <= set(agreed.steps)


def intended(
    world: "World",
    plan: str | None,
    path: Path | None,
    before: Intended | None,
    max_hours: float | None = None,
    *,
    dry_run: bool = False,
) -> Intended:
    """What is to be done now. The plan of an earlier look stays, unless another one was put in force meanwhile.

    Machines whose agents run another version's code are prepared anew. Providers are asked for machines that can be
    kept for `max_hours`, or else for as long as the spec says.
    """
    from thunderctl.deploying.lifecycle import check_host, check_money, steps_to
    from thunderctl.fleet.resting import cost_at_rest
    from thunderctl.hosts.payload import build_payload
    from thunderctl.spec.spec import override_spec

    in_force = world.store.deployment(world.name).plan_id
    if before is not None and before.after == in_force:
        wanted, written = before.wanted, before.written
    else:
        wanted, written = choose_plan(world, plan, path)
    world.written = override_spec(written, {"--max-hours": {"budget": {"max_hours": max_hours}}})
    resting = _resting(world, wanted, in_force, named=plan is not None)
    at_rest = resting.of(wanted)
    check_host(world, wanted, written)
    check_money(world, wanted, written, at_rest_usd_per_hour=cost_at_rest(wanted, at_rest))
    code = build_payload().digest
    looking = steps_to(world, wanted, written, output.narrate, resting=at_rest, code=code, is_preview=dry_run)
    steps = asyncio.run(looking)
    return Intended(wanted, written, steps, in_force, resting)


def _resting(world: "World", wanted: "Plan", in_force: str, *, named: bool) -> "Resting":
    """What stays at rest, where `up` goes on with the plan in force. One that is named is wanted whole."""
    from thunderctl.fleet.resting import Resting, resting_entries, resting_line

    resting = Resting.from_json(world.store.deployment(world.name).resting)
    if named or wanted.plan_id != in_force:
        return Resting()
    if line := resting_line(resting_entries(resting, wanted)):
        output.narrate(f"{line}. To have all of the plan now: thunderctl up {wanted.plan_id}")
    return resting


def choose_plan(world: "World", plan: str | None, path: Path | None) -> tuple["Plan", "Spec"]:
    """The plan to bring up and the spec it is brought up with."""
    from planner.document import plan_from_json
    from thunderctl.cli.tables.plan_difference import difference
    from thunderctl.deploying.lifecycle import lineage, plan_in_force
    from thunderctl.deploying.unfit import unfit_machines
    from thunderctl.planning import make_plan
    from thunderctl.spec.inputs import read_plan
    from thunderctl.spec.spec import DEFAULT_PATH, load_spec, planning_changes

    current = plan_in_force(world)
    written = load_spec(path) if path or DEFAULT_PATH.exists() or current is None else world.spec()
    if plan is None and current is not None:
        changed = planning_changes(world.spec(), written)
        if not changed:
            return current, written
        output.narrate(f"The spec changed since the plan was made ({', '.join(changed)}): planning anew.")
    if plan is None:
        return make_plan(written, output.narrate, tried=unfit_machines(world)), written
    if Path(plan).exists() or plan.endswith(".json"):
        chosen = read_plan(Path(plan))
    else:
        chosen = plan_from_json(world.store.plan(plan, world.name).document)
    if current is not None and chosen.plan_id in lineage(world, current)[1:]:
        output.narrate(f"Plan {chosen.plan_id} goes on as {current.plan_id}, in which machines were replaced.")
        return current, written
    if current is not None and chosen.plan_id != current.plan_id:
        for line in difference(current, chosen):
            output.narrate(line)
    return chosen, written
