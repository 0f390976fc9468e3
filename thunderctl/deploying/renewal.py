"""Another end for the leases that run: `up --max-hours` on a fleet that is up.

A machine has an end of its own, which its switch counts from its boot (templates/deadman.sh.j2). It is told first and
the lease's row after, so that a crash in between leaves the shorter of the two lives.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from planner.errors import HostError, Incomplete, ThunderError
from provisioners.base import Listing, Machine
from provisioners.leases.journal import Cause, LeaseRow, LeaseState
from provisioners.leases.observe import matched
from provisioners.transport import Transport
from thunderctl.deploying.wanted_again import due
from thunderctl.world import World

ANSWER_S = 20.0
LIVED_FILE, ENDS_FILE = "run/lived_s", "run/ends_after_s"
NUMBER_DIGITS = 9
"""As many digits as the switch reads; what is longer is no number to it."""


async def renew(world: World, max_hours: float) -> None:
    """Have every lease that runs end after `max_hours` from now on, one that drains for its end too.

    The caller holds the deployment's lock. Raises Incomplete, naming those that could not be told, or that end for
    something else: they end as before.
    """
    ends_at = time.time() + 3600 * max_hours
    rows = [row for row in world.store.leases(world.name) if row.state.runs]
    spent = due(world, world.written or world.spec(), Cause.MONEY)
    machines = await _machines(world, rows)
    problems = await asyncio.gather(
        *(_renewed(world, row, machines.get(row.lease_id), ends_at, spent=spent.get(row.lease_id, "")) for row in rows)
    )
    if left := [f"{row.instance}: {why.rstrip('.')}" for row, why in zip(rows, problems, strict=True) if why]:
        raise Incomplete(
            f"Not renewed, and ending as before: {'; '.join(left)}.", hint="Run `thunderctl up --max-hours` again."
        )


async def tell_end(transport: Transport, left_s: float) -> None:
    """Have the machine's own switch end it in `left_s`. Raises HostError.

    Where no switch has looked yet, or there is none, it has lived for nothing as far as that goes.
    """
    said = await transport.run(f"cat {LIVED_FILE} 2>/dev/null || true", timeout_s=ANSWER_S)
    if said.code != 0:
        raise HostError(f"{LIVED_FILE} can't be read: {said.complaint}")
    text = said.stdout.decode(errors="replace").strip()
    lived_s = int(text) if text.isascii() and text.isdecimal() and len(text) <= NUMBER_DIGITS else 0
    await transport.put(ENDS_FILE, f"{lived_s + round(left_s)}\n".encode(), 0o644)


async def _machines(world: World, rows: Sequence[LeaseRow]) -> dict[str, Machine]:
    """Lease → its machine, of every provider that answers."""
    by_provider = {row.provider: [one for one in rows if one.provider == row.provider] for row in rows}
    listings = await asyncio.gather(*(_listing(world, provider) for provider in by_provider))
    found: dict[str, Machine] = {}
    for listing, mine in zip(listings, by_provider.values(), strict=True):
        found |= matched(listing.machines, mine)
    return found


async def _listing(world: World, provider: str) -> Listing:
    try:
        async with asyncio.timeout(ANSWER_S):
            return await world.provisioner(provider).observe()
    except (TimeoutError, ThunderError):
        return Listing(False)


async def _renewed(world: World, row: LeaseRow, machine: Machine | None, ends_at: float, *, spent: str) -> str:
    """Why it was not; empty where it was. `spent`: that money ends it by now."""
    drains = row.state is LeaseState.DRAINING
    if why := spent or (row.reason if drains and row.drained_for is None else ""):
        return f"it is being released, as {why}" if drains else why
    if machine is None:
        return f"{row.provider} does not list it"
    if machine.ends_at is not None and machine.ends_at < ends_at:
        left_h = max(0.0, machine.ends_at - time.time()) / 3600
        return f"its host ends it {_day(machine.ends_at)}, so that it can go on for {left_h:.1f} h at most"
    try:
        await tell_end(world.provisioner(row.provider).transport(machine), ends_at - time.time())
        ready = row.moved(LeaseState.READY) if drains else row
        world.store.update_lease(replace(ready, expires_at=ends_at), was=row.state)
    except ThunderError as error:
        return error.message
    text = f"{row.instance} ({row.provider} {row.provider_id}) ends {_day(ends_at)}"
    world.store.record(world.name, "lease.renewed", text)
    return ""


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
