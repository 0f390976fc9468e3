"""What providers list of a deployment's machines, and when they are to be asked again: often at first, then seldom."""

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from planner.errors import ThunderError
from provisioners.base import Announces, Listing, Machine, PriceRise, Provisioner
from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.leases.observe import Absences, Pace, Sight, look, matched
from thunderctl.home import owner_id
from thunderctl.observing.known_leases import Costing, Looking
from thunderctl.world import World

OFTEN_S, WATCHFUL_S, SELDOM_S = 10.0, 20.0, 120.0
"""Often at first and where something is the matter; watchfully where a machine can be taken back, which AWS says two
minutes ahead; else seldom."""
FIRST_LOOKS = 6
"""Looks at a provider that come one soon after the other; others do where a lease is not simply there and ready."""
ANSWER_S = 60.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Seen:
    """What one provider said last, when it was asked on the pace's clock, and how many looks there were.

    `ended` is whether any of them has: with an answer, or without.
    """

    machines: Mapping[str, Machine] = field(default_factory=dict)
    rises: Mapping[str, PriceRise] = field(default_factory=dict)
    distrust: str = ""
    looks: int = 0
    ended: bool = False
    asked_at: float | None = None


@dataclass(slots=True)
class Listings:
    """The last listing of every provider. Absence is proven from look to look, for as long as this process lives."""

    world: World
    pace: Pace
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _absences: dict[str, Absences] = field(default_factory=dict)
    _unasked: set[str] = field(default_factory=set)
    _journals: dict[str, Looking] = field(default_factory=dict)

    @property
    def machines(self) -> dict[str, Machine]:
        """Lease → its machine, as last listed."""
        return {lease: machine for seen in self._seen.values() for lease, machine in seen.machines.items()}

    @property
    def listed(self) -> frozenset[str]:
        """The leases that the last listing of their provider showed and that nothing was asked of since."""
        return frozenset(self._unasked & self.machines.keys())

    @property
    def problems(self) -> dict[str, str]:
        """Why a machine is of no use, by lease, in its provider's words."""
        return {lease: machine.problem for lease, machine in self.machines.items() if machine.problem}

    @property
    def notices(self) -> dict[str, str]:
        """What is said of a machine and is no reason to let it go, by lease: trouble that may pass, a price to come."""
        found = {lease: machine.trouble for lease, machine in self.machines.items() if machine.trouble}
        for seen in self._seen.values():
            found |= {lease: _words(rise) for lease, rise in seen.rises.items() if lease not in found}
        return found

    def distrust(self, providers: Iterable[str]) -> dict[str, str]:
        """Why the last listing of these proves nothing, where it doesn't."""
        found = {name: self._of(name).distrust for name in providers}
        return {name: why for name, why in found.items() if why}

    def unheard(self, providers: Iterable[str]) -> frozenset[str]:
        """Those of which nothing is known yet: no look at them has ended."""
        return frozenset(name for name in providers if not self._of(name).ended)

    def asked(self, lease_id: str) -> None:
        """Its release was asked for: before the next listing it need not be asked again."""
        self._unasked.discard(lease_id)

    def due(self, rows: Collection[LeaseRow], silent: Collection[str], at_risk: Collection[str]) -> list[str]:
        """The providers to be asked now: of leases that may cost, and of those that were given up of late.

        `silent` are leases whose agents don't answer: has the machine gone? `at_risk` are providers that may take back
        a machine of ours.
        """
        found = []
        for name in sorted({row.provider for row in rows}):
            seen, mine = self._of(name), [row for row in rows if row.provider == name]
            costing = [row for row in mine if row.state.may_cost]
            settled = seen.looks >= FIRST_LOOKS and not seen.distrust and self._at_rest(name, costing, silent)
            every_s = OFTEN_S if not settled else WATCHFUL_S if name in at_risk else SELDOM_S
            if seen.asked_at is None or self.pace.clock() - seen.asked_at >= every_s:
                found.append(name)
        return found

    async def look(self, provider: str) -> None:
        """List, and bring the leases in the store up to date. The caller holds the deployment's lock."""
        seen = self._asked_now(provider)
        try:
            seller = self.world.provisioner(provider)
            async with asyncio.timeout(ANSWER_S):
                sight = await look(
                    self._journal_of(provider),
                    seller,
                    self._absences_of(provider),
                    owner_id=owner_id(),
                    deployment=self.world.name,
                    pace=self.pace,
                )
        except TimeoutError:
            seen.distrust = f"it did not answer within {ANSWER_S:.0f} s"
        except ThunderError as error:
            seen.distrust = error.message.rstrip(".")
        else:
            self._note(seen, sight)
            seen.ended = True
            await self._ask_rises(seen, seller)
        seen.ended = True

    async def peek(self, provider: str) -> None:
        """List for the machines' addresses alone: somebody else is changing the deployment, and nothing is written."""
        seen = self._asked_now(provider)
        rows = [row for row in Costing(self.world.store).leases(self.world.name) if row.provider == provider]
        try:
            async with asyncio.timeout(ANSWER_S):
                listing: Listing = await self.world.provisioner(provider).observe()
        except (TimeoutError, ThunderError):
            return  # the next look says so
        found = matched(listing.machines, rows)
        seen.machines = {**seen.machines, **found}
        for lease_id in found:  # a look that lacked it says nothing any more
            self._absences_of(provider).forget(lease_id)

    def _note(self, seen: _Seen, sight: Sight) -> None:
        found = matched(sight.machines, sight.rows)
        self._unasked |= found.keys()
        seen.distrust = sight.distrust
        seen.machines = {**seen.machines, **found} if sight.distrust else found

    async def _ask_rises(self, seen: _Seen, seller: Provisioner) -> None:
        """Prices to come, where they are announced; those heard before stand while nobody can say."""
        if not isinstance(seller, Announces):
            return
        leases = {machine.provider_id: lease for lease, machine in seen.machines.items()}
        try:
            async with asyncio.timeout(ANSWER_S):
                rises = await seller.price_rises()
        except (TimeoutError, ThunderError) as error:
            log.warning("%s can't say which prices will rise: %r", seller.provider, error)
            return
        seen.rises = {leases[rise.provider_id]: rise for rise in rises if rise.provider_id in leases}

    def _asked_now(self, provider: str) -> _Seen:
        seen = self._of(provider)
        seen.looks += 1
        seen.asked_at = self.pace.clock()
        return seen

    def _journal_of(self, provider: str) -> Looking:
        """Of each provider's own: all leases are read at some of its looks."""
        return self._journals.setdefault(provider, Looking(self.world.store, lambda: self.pace.now()))

    def _absences_of(self, provider: str) -> Absences:
        consistent = self.world.provisioner(provider).consistent
        return self._absences.setdefault(provider, Absences(0.0 if consistent else self.pace.settle_s))

    def _at_rest(self, provider: str, rows: Iterable[LeaseRow], silent: Collection[str]) -> bool:
        absent = self._absences[provider].since if provider in self._absences else {}
        return all(
            row.state is LeaseState.READY and row.lease_id not in absent and row.lease_id not in silent for row in rows
        )

    def _of(self, provider: str) -> _Seen:
        return self._seen.setdefault(provider, _Seen())


def _words(rise: PriceRise) -> str:
    when = f" from {datetime.fromtimestamp(rise.at, UTC):%Y-%m-%d %H:%M UTC} on" if rise.at else ""
    return f"its GPUs are going to cost ${rise.after_usd_per_hour:.4g}/h, not ${rise.before_usd_per_hour:.4g}/h{when}"
