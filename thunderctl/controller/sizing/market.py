"""What machines like those that run are offered for now: asked while prices are above the budget."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from planner.advice.startup import startup
from planner.catalog import Offer
from planner.deployment import Plan
from planner.procurement.placing import instance_of
from planner.substitute import kv_flows, substitutes
from thunderctl.controller.sizing.view import Quote
from thunderctl.deploying.market import rentable
from thunderctl.spec.spec import Spec
from thunderctl.world import World

EVERY_S = 600.0
"""An answer is as good as this old."""


def unsaid(_subject: str, _text: str) -> None:
    """Narrate to nobody."""


@dataclass(frozen=True, slots=True)
class Looking:
    """What a look at the market goes by."""

    world: World
    plan: Plan
    spec: Spec
    narrate: Callable[[str, str], None] = unsaid


async def quotes(world: World, plan: Plan, spec: Spec) -> dict[str, Quote]:
    """By instance, the cheapest offer that would do the same job within the budget of the plan."""
    return quotes_of(plan, await rentable(Looking(world, plan, spec)))


def quotes_of(plan: Plan, offers: Iterable[Offer]) -> dict[str, Quote]:
    """Of these offers. One that an instance is itself counts too: its price may be another for who asks now."""
    known = tuple(offers)
    flows = kv_flows(plan) if known else ()
    found = {}
    for one in plan.instances if known else ():
        best = next(iter(substitutes(plan, one.id, known, flows=flows)), None)
        if best is not None:
            taken = instance_of(best, one.id, plan.llm)
            found[one.id] = Quote(taken.usd_per_hour, startup(plan.llm, taken).seconds)
    return found
