"""Everything that is checked, in one list. What can't be looked at because of something else is left out."""

import asyncio
from pathlib import Path

from planner.errors import ThunderError
from thunderctl.doctor.check import Check
from thunderctl.doctor.clock import clock_check
from thunderctl.doctor.deployments import agents_check, newest_event_at, store_checks
from thunderctl.doctor.host import host_checks, written
from thunderctl.doctor.providers import provider_checks
from thunderctl.hosts.payload import build_payload
from thunderctl.observing.observe import observe_once
from thunderctl.spec.spec import Spec
from thunderctl.world import World, open_world

LOOK_AT_STORE = "Look at THUNDER_HOME and THUNDER_DATABASE_URL."


def examine(deployment: str, path: Path | None) -> list[Check]:
    """This host, then the store and what it knows of, then the world. `path` is the spec's, where one was named.

    Without a spec here, the deployment's own says which providers and hosts are meant.
    """
    spec = written(path)
    checks = host_checks(deployment, path, spec or Spec())
    try:
        with open_world(deployment) as world:
            world.written = spec or world.spec()
            checks += store_checks(world.store)
            checks += asyncio.run(_abroad(world, world.written))
    except ThunderError as error:
        clock = asyncio.run(clock_check((spec or Spec()).markets.providers, 0.0))
        checks += [Check("store", False, error.message, error.hint or LOOK_AT_STORE), clock]
    return checks


async def _abroad(world: World, spec: Spec) -> list[Check]:
    """What others are asked about, all of them at once."""
    clock, agents, providers = await asyncio.gather(
        clock_check(spec.markets.providers, newest_event_at(world.store)), _agents(world), provider_checks(world, spec)
    )
    return [clock, agents, *providers]


async def _agents(world: World) -> Check:
    try:
        return agents_check(await observe_once(world), build_payload().digest)
    except ThunderError as error:
        return Check("agents", False, error.message, error.hint)
