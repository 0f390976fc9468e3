"""Certificates are renewed a month before they end, while everything serves: of the controller, the router and agents.

An agent's go to its machine by the way that it was prepared by; it loads them itself (`runtime/tls.py`), and its
engines notice nothing. The authority outlives any deployment.
"""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from planner.errors import ThunderError
from provisioners.base import Machine
from provisioners.leases.journal import LeaseRow
from runtime.messages import agent_name
from runtime.tls import AUTHORITY_CERTIFICATE, CERTIFICATE, PRIVATE_KEY
from thunderctl.certificates import is_fresh, issue
from thunderctl.controller.listings import Listings
from thunderctl.world import World

RENEW_EVERY_S = 3600.0
FIRST_S = 60.0
"""Until the first look, by when machines were listed: a controller that is started again and again looks too."""
SEND_S = 60.0
"""To put three small files on a machine."""
ORDER = (AUTHORITY_CERTIFICATE, PRIVATE_KEY, CERTIFICATE)
"""The certificate last: that it changed is what an agent goes by."""

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
        except ThunderError as error:
            log.warning("certificates: %s", error.message)
        except Exception:  # a full disk, or a bug: whoever stops looking lets certificates end
            log.exception("certificates could not be renewed")


async def renew(world: World, rows: list[LeaseRow], machines: Mapping[str, Machine]) -> None:
    """Renew what ends soon; a machine that can't be reached holds up no other's."""
    _ = world.operator_tls, world.router_tls()
    for row in rows:
        folder = world.folder / "agents" / row.lease_id
        if (machine := machines.get(row.lease_id)) is None or not folder.is_dir() or is_fresh(folder):
            continue
        try:
            async with asyncio.timeout(SEND_S):
                await _renew_agent(world, row, machine, folder)
        except (ThunderError, TimeoutError, OSError) as error:
            log.warning("the certificate of %s is not renewed yet: %s", row.instance, error)
        else:
            world.store.record(world.name, "certificate", f"the certificate of {row.instance}'s agent was renewed")


async def _renew_agent(world: World, row: LeaseRow, machine: Machine, folder: Path) -> None:
    """Kept here once the machine has it: cut off half-way, the next time sends the same one again."""
    coming = folder / "coming"
    issue(world.folder / "ca", agent_name(row.lease_id), coming)
    transport = world.provisioner(row.provider).transport(machine)
    for name in ORDER:
        await transport.put(f"tls/{name}", (coming / name).read_bytes(), 0o600)
    for name in ORDER:
        (coming / name).replace(folder / name)
    coming.rmdir()
