"""Let the machines of a fleet reach each other, where a provider keeps everybody out who is not let in."""

import asyncio
import logging
import socket
from collections.abc import Iterable

from planner.errors import ThunderError
from provisioners.base import Guarded
from thunderctl.deploying.site import Site
from thunderctl.home import owner_id
from thunderctl.world import World

log = logging.getLogger(__name__)


async def let_in(site: Site, instances: Iterable[str]) -> None:
    """These instances, all of which were met, and nobody else any more."""
    names = sorted(instances)
    provisioners = {site.plan.instance(name).provider: site.provisioner(name) for name in names}
    guarded = [one for one in provisioners.values() if isinstance(one, Guarded)]
    if not guarded:
        return
    found = await asyncio.gather(*(_addresses(site, name) for name in names))
    fleet = frozenset(address for addresses in found for address in addresses)
    await asyncio.gather(*(one.let_in(owner_id(), site.world.name, fleet) for one in guarded))


async def let_operator_in(world: World, providers: Iterable[str]) -> None:
    """Open the machines of these providers to this host under the address that it has now: it may have moved.

    What a provider says against it is logged: whether a machine is reached shows by itself.
    """
    for name in sorted(set(providers)):
        try:
            provisioner = world.provisioner(name)
            if isinstance(provisioner, Guarded):
                await provisioner.let_operator_in(owner_id(), world.name)
        except ThunderError as error:
            log.warning("%s does not let this host in: %s", name, error.message)


async def _addresses(site: Site, name: str) -> frozenset[str]:
    """The numbers that the instance's name has here: rules know no names."""
    host = site.machines[name].address
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        site.narrate(name, f"is not let in by the others: the address of {host} is not known ({error.strerror})")
        return frozenset()
    return frozenset(str(row[4][0]) for row in found)
