"""Wait until a machine that was rented can be worked on: its address is known, and it answers there."""

from dataclasses import dataclass

from planner.errors import HostError, HostSilent, HostUnfit, Incomplete
from provisioners.base import Listing, Machine
from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.leases.observe import Absences, why_not_trusted
from thunderctl.deploying.site import Site

ANSWER_S = 20.0
LOST_S = 120.0
"""A machine that was ready, and that runs as its provider says, is known to be silent then: a reboot takes less."""
CUT_OFF = "no machine that was ready answers from here"


@dataclass(slots=True)
class Waited:
    """How long a machine was waited for, up to `at`: what counts against it, and what can't be its fault.

    `silent_s` is for how long of that it has been silent now, though its provider says that it runs.
    """

    at: float
    counted_s: float = 0.0
    excused_s: float = 0.0
    silent_s: float = 0.0

    def until(self, at: float, *, excused: bool, silent: bool) -> None:
        passed_s, self.at = at - self.at, at
        if excused:
            self.excused_s += passed_s
            return
        self.counted_s += passed_s
        self.silent_s = self.silent_s + passed_s if silent else 0.0


async def booted(site: Site, row: LeaseRow) -> Machine:
    """The machine of a lease, once it answers.

    Raises HostUnfit where its provider says that it never will, or no longer has it, HostSilent when its time is over,
    which is short for one that was ready, runs and does not answer. Its time stands still while the provider's listing
    can't be trusted and, for a machine that never was ready, while nobody gets from here onto those that were;
    Incomplete when that lasts as long.
    """
    provisioner, deadline_s = site.world.provisioner(row.provider), site.spec.leases.ready_deadline_s
    absences, waited = Absences(site.pace.settle_s), Waited(site.clock())
    is_new = row.state is LeaseState.CREATED
    doing = "booting" if is_new else "was ready, and is looked for"
    while True:
        at = site.clock()
        listing = await site.listing(row.provider)
        distrust = _distrust(site, row.provider, listing)
        machine = next((one for one in listing.machines if one.provider_id == row.provider_id), None)
        if row.provider_id in listing.ended:
            raise HostUnfit(f"{row.provider} calls {row.provider_id} terminated.")
        if machine is None:
            state = distrust or _absent(row, absences, at)
        else:
            absences.forget(row.lease_id)
            if not (state := await _state(site, row, machine)):
                return machine
        excuse = distrust or (CUT_OFF if site.cut_off and is_new else "")
        silent = machine is not None and row.lease_id in site.silent
        waited.until(site.clock(), excused=bool(excuse), silent=silent)
        subject = f"{row.provider} {row.provider_id}"
        if not is_new and waited.silent_s >= min(LOST_S, deadline_s):
            raise HostSilent(f"{subject} runs, and has not answered for {waited.silent_s:.0f} s: {state}.")
        if waited.counted_s >= deadline_s:
            raise HostSilent(f"{subject} did not answer within {waited.counted_s:.0f} s: {state}.")
        if waited.excused_s >= deadline_s:
            raise Incomplete(
                f"{subject} of {row.instance} was waited for, {waited.excused_s:.0f} s without judging it: {excuse}.",
                hint="It is kept, and bills. Run `thunderctl up` again when that is mended.",
            )
        site.narrate(row.instance, f"{doing}: {state}")
        if provisioner.consistent:  # else the listings are spaced
            await site.pace.sleep(site.pace.poll_s)


def _distrust(site: Site, provider: str, listing: Listing) -> str:
    return why_not_trusted(listing, [one for one in site.world.store.leases() if one.provider == provider])


def _absent(row: LeaseRow, absences: Absences, at: float) -> str:
    """Of a machine that a listing lacks: it may be too new. Raises HostUnfit once it is proven gone."""
    if absences.proven(row.lease_id, at):
        raise HostUnfit(f"{row.provider} no longer has {row.provider_id}.")
    return "not listed yet" if row.state is LeaseState.CREATED else "its provider lists it no more"


async def _state(site: Site, row: LeaseRow, machine: Machine) -> str:
    """What it is still waited for; nothing once it answers. Raises HostUnfit for what no waiting mends."""
    if machine.problem:
        raise HostUnfit(f"{row.provider} {machine.provider_id} is of no use: {machine.problem}.")
    site.silent.discard(row.lease_id)
    if not machine.address or machine.trouble:
        return f"{machine.state}, {machine.trouble}" if machine.trouble else machine.state
    try:
        await site.world.provisioner(row.provider).transport(machine).run("true", timeout_s=ANSWER_S)
    except HostError as error:
        site.silent.add(row.lease_id)
        return f"{machine.state}, and silent: {error.first_line}"
    return ""
