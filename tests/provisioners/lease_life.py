"""A deployment's leases in a world where things go wrong, told as commands, each a process that may be killed.

It is killed in this process (`mortal.py`).
"""

from provisioners.base import Provisioner
from provisioners.bootstrap import prepare
from provisioners.leases.acquire import acquire
from provisioners.leases.adopt import condemned
from provisioners.leases.journal import Journal, LeaseState
from provisioners.leases.ledger import usd_per_hour
from provisioners.leases.observe import Pace, strays
from provisioners.leases.release import release, resume
from tests.provisioners.acted_host import ActedHost
from tests.provisioners.fakes import OURS, OWNER, MemoryJournal, intent
from tests.provisioners.lease_worlds import LeaseWorld, our_bill, ours
from tests.provisioners.mortal import Command, MortalHost, Process, run_mortal

BOOT_POINTS = ("B1", "B2", "B3", "B4", "B5")
CREATE_POINTS = ("", "C0", "C1", "C2", "C3", "C4", "C5")
DELETE_POINTS = ("", "C6", "C6-after", "C7")
PATIENCE_S = 1200.0
LASTING = 60
"""Answers that a fault of listings lasts: longer than DOUBT_S."""
DOUBT_S = 200.0
"""How long a command looks at listings that prove nothing: for twice the settle time."""


class LeaseLife:
    """A deployment's leases in a world. Every command is a process that remembers nothing of the last."""

    def __init__(self, world: LeaseWorld) -> None:
        self.world = world
        self.hosts: dict[str, ActedHost] = {}
        self.journal = MemoryJournal()
        self.deaths: list[str] = []
        self.late = 0

    def lease(self, name: str, offer_id: str, crash: str = "") -> bool:
        """Ask for an instance; whether it was killed on the way."""
        wanted = intent(self.world.wanted(name, offer_id))
        budget, clock = self.world.budget_usd_per_hour, self.world.clock

        async def command(journal: Journal, provisioner: Provisioner) -> None:
            await acquire(journal, provisioner, wanted, budget_usd_per_hour=budget, price_tolerance=0.5, now=clock)

        return self._run(command, crash)

    def boot(self, crash: str = "") -> bool:
        """Prepare the machines and say that they are ready, as `up` does; it may be killed on the way.

        Hosts are prepared in stories that kill there: in all others it would take longer than all else.
        """
        process, preparing = Process(), bool(crash or self.hosts)

        async def command(journal: Journal, provisioner: Provisioner) -> None:
            await provisioner.observe()
            for row in journal.leases("d"):
                if row.state is LeaseState.CREATED:
                    if preparing:
                        host = self.hosts.setdefault(row.lease_id, ActedHost())
                        await prepare(MortalHost(host, process), host.wanted)
                    journal.update_lease(row.moved(LeaseState.READY), was=LeaseState.CREATED)

        return self._run(command, crash, process)

    def check_booted(self) -> None:
        """What is ready is prepared, whole."""
        for row in self.journal.leases():
            assert row.state is not LeaseState.CREATED, f"{row.instance} was left half prepared"
            assert row.state is not LeaseState.READY or not self.hosts[row.lease_id].needs

    def resume(self, crash: str = "", patience_s: float = PATIENCE_S) -> bool:
        return self._run(lambda journal, seller: resume(journal, seller, **OURS, pace=self.pace(patience_s)), crash)

    def down(self, crash: str = "", patience_s: float = PATIENCE_S) -> bool:
        pace = self.pace(patience_s)
        return self._run(lambda journal, seller: release(journal, seller, **OURS, reason="down", pace=pace), crash)

    def gc(self) -> None:
        """Release what bears our owner id and has no row, as `gc --delete` does."""

        async def command(journal: Journal, provisioner: Provisioner) -> None:
            listing = await provisioner.observe()
            for machine in strays(listing.machines, journal.leases(), OWNER):
                journal.add_lease(condemned(machine, provisioner.provider, journal.leases(), self.world.clock()))
            leaving = [row.lease_id for row in journal.leases() if row.state is LeaseState.DELETING]
            await release(journal, provisioner, leaving, **OURS, reason="gc", pace=self.pace())

        self._run(command)

    def pace(self, patience_s: float = PATIENCE_S) -> Pace:
        clock = self.world.clock
        return Pace(90.0, 30.0, patience_s, clock=clock, now=clock, sleep=clock.sleep)

    def costing(self) -> set[str]:
        return {row.lease_id for row in self.journal.leases() if row.state.may_cost}

    def check(self) -> None:
        """What bills is what may cost, at the price that it has, within the budget; what is others' stands."""
        billing = sorted(ours(self.world))
        assert billing == sorted(self.costing()), f"{billing} bill; the journal has {self.journal.leases()}"
        bill, counted = our_bill(self.world), float(usd_per_hour(self.journal.leases()))
        assert bill is None or abs(bill - counted) < 1e-6, f"{bill} $/h are billed, {counted} $/h are counted"
        self.check_always()

    def check_always(self) -> None:
        """What holds at any moment, in the middle of any fault: what bills is known to cost, and others' stands."""
        assert set(ours(self.world)) <= self.costing()
        assert usd_per_hour(self.journal.leases()) <= self.world.budget_usd_per_hour
        assert self.world.others_stand()

    def check_to_the_end(self) -> None:
        """All faults over: resume finds the truth, a second one does nothing, and down leaves nothing of ours."""
        for operation in ("create", "list", "delete"):
            self.world.spoil(operation)
        self.resume()
        self.check()
        rows = self.journal.leases()
        assert not {row.state for row in rows} & {LeaseState.SENT, LeaseState.DELETING}
        self.resume()
        assert self.journal.leases() == rows
        self.down()
        assert not ours(self.world)
        self.check()

    def _run(self, command: Command, point: str = "", process: Process | None = None) -> bool:
        died = run_mortal(command, self.journal, self.world.provisioner(), point, process)
        self.late += died.late
        self.deaths += [point] * died.dead
        return died.dead
