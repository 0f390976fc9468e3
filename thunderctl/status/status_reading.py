"""The status document: a deployment is observed, and the store's and the router's part put beside what was seen."""

from collections.abc import Sequence
from typing import Any

from planner.document import plan_from_json
from thunderctl.money.ending import ending_of
from thunderctl.money.price_rises import announced_rises
from thunderctl.money.spending import Spending, spending_of, warnings_of
from thunderctl.observing.observe import Observation, observe_once
from thunderctl.status.status import status_document
from thunderctl.world import World


def status_of(
    world: World, seen: Observation, announced: Sequence[str] = (), spending: Spending | None = None
) -> dict[str, Any]:
    """`thunder.status/v1`. `announced` are prices to come; `spending` where it has been added up already."""
    deployment, spec = world.store.deployment(world.name), world.spec()
    plan = None
    if deployment.plan_id:
        plan = plan_from_json(world.store.plan(deployment.plan_id, world.name).document)
    money = spending or spending_of(world.store, world.name)
    warnings = (*warnings_of(money, spec), *announced)
    ending = ending_of(money, spec.budget.max_total_usd) if seen.instances else None
    return status_document(deployment, plan, seen, float(money.spend.usd), warnings, world.controller.report(), ending)


async def read_status(world: World) -> dict[str, Any]:
    """Observe the deployment and put it in the status document's form."""
    seen = await observe_once(world)
    return status_of(world, seen, await announced_rises(world))
