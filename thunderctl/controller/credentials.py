"""Certificates are renewed a month before they end, while everything serves: of the controller, the router and agents.

An agent's go to its machine by the way that it was prepared by; it loads them itself (`runtime/tls.py`), and its
engines notice nothing. A router elsewhere gets its own by its link. The authority outlives any deployment.
"""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from planner.errors import Refused, SpecError, ThunderError
from provisioners.base import Machine
from provisioners.leases.journal import LeaseRow
from runtime.tls import AUTHORITY_CERTIFICATE, CERTIFICATE, PRIVATE_KEY
from thunderctl.controller.errands import AT_WORK
from thunderctl.controller.listings import Listings
from thunderctl.keys.certificates import has_authority, is_fresh
from thunderctl.store.locks import BRIEF_S
from thunderctl.world import World

RENEW_EVERY_S = 3600.0
FIRST_S = 60.0
"""Until the first look, by when machines were listed: a controller that is started again and again looks too."""
SEND_S = 60.0
"""To put three small files on a machine."""
ORDER = (AUTHORITY_CERTIFICATE, PRIVATE_KEY, CERTIFICATE)
"""The certificate last: that it changed is what an agent goes by."""
UNSENT = "unsent"
"""Beside credentials that their machine may not have yet: they are made under the lock, which no sending holds. As old
as the first of them (`undelivered.py`)."""

log = logging.getLogger(__name__)


async def keep_fresh(world: World, listings: Listings, *, every_s: float = RENEW_EVERY_S) -> None:
    """Look now and then, until cancelled. What fails is said, and tried again the next time: a month is left."""
    pause_s = min(FIRST_S, every_s)
    while True:
        await asyncio.sleep(pause_s)
        pause_s = every_s
        try:
            rows = [row for row in world.store.leases(world.name) if row.state.runs]
            await renew(world, rows, listings.machines)
        except Refused as refusal:
            pause_s = min(FIRST_S, every_s)
            log.info("certificates wait: %s", refusal.message)
        except ThunderError as error:
            log.warning("certificates: %s", error.message)
        except Exception:  # a full disk, or a bug: whoever stops looking lets certificates end
            log.exception("certificates could not be renewed")


async def renew(world: World, rows: list[LeaseRow], machines: Mapping[str, Machine]) -> None:
    """Renew what ends soon; a machine that can't be reached holds up no other's.

    Raises Refused while a command changes the deployment: it may be sending the ones that were.
    """
    _ = world.operator_tls, world.router_tls()
    ours = [row for row in rows if row.lease_id in machines and _folder(world, row).is_dir()]
    await _send_waiting(world, ours, machines)  # it waits for no lock, and no other is made in its place unsent
    if old := [row for row in ours if not is_fresh(_folder(world, row))]:
        _make_anew(world, old)
        await _send_waiting(world, old, machines)


async def _send_waiting(world: World, rows: list[LeaseRow], machines: Mapping[str, Machine]) -> None:
    for row in rows:
        if not (_folder(world, row) / UNSENT).exists():
            continue
        try:
            async with asyncio.timeout(SEND_S):
                await _send(world, row, machines[row.lease_id])
        except (ThunderError, TimeoutError, OSError) as error:
            log.warning("the certificate of %s is not renewed there yet: %s", row.instance, error)
        else:
            world.store.record(world.name, "certificate", f"the certificate of {row.instance}'s agent was renewed")


def _make_anew(world: World, rows: list[LeaseRow]) -> None:
    """Under the deployment's lock, and at once: a command that takes it from now on sends the new ones.

    Nobody is waited for: who has the lock may be this very process, at other work. Raises SpecError where the authority
    was lost: then what it has issued is all there is.
    """
    if not has_authority(world.folder / "ca"):
        raise SpecError(f"{', '.join(row.instance for row in rows)}: their authority in {world.folder / 'ca'} is gone.")
    with world.store.lock(world.name, AT_WORK, lasts_s=BRIEF_S, waits=False):
        for row in rows:
            if not (_folder(world, row) / UNSENT).exists():  # since when a machine waits, however often it is made
                (_folder(world, row) / UNSENT).touch()  # first: cut off here, they are made the next time
            world.agent_tls(row.lease_id)


async def _send(world: World, row: LeaseRow, machine: Machine) -> None:
    """May be done twice: what is sent stays here as it is."""
    folder, transport = _folder(world, row), world.provisioner(row.provider).transport(machine)
    for name in ORDER:
        await transport.put(f"tls/{name}", (folder / name).read_bytes(), 0o600)
    (folder / UNSENT).unlink()


def _folder(world: World, row: LeaseRow) -> Path:
    return world.folder / "agents" / row.lease_id
