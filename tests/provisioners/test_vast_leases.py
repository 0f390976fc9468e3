"""The lease protocol over Vast.ai: whatever goes wrong, what its fake bills for is what the journal says."""

import asyncio
import os
from contextlib import suppress
from unittest.mock import patch

import pytest

from planner.deployment import Instance
from planner.errors import Incomplete, ThunderError
from provisioners.base import Label
from provisioners.leases.acquire import acquire
from provisioners.leases.journal import LeaseState
from provisioners.leases.ledger import usd_per_hour
from provisioners.leases.observe import Pace
from provisioners.leases.release import release, resume
from provisioners.vast.client import CREATE_S
from provisioners.vast.provisioner import VastProvisioner
from tests.provisioners.fakes import OURS, OWNER, SOMEBODY_ELSE, MemoryJournal, intent, states
from tests.provisioners.vast_market import Contract, bundle
from tests.provisioners.vast_world import VastWorld, vast_world

BUDGET = 1.0
CREATES = (
    "",
    "taken",
    "429",
    "504 before",
    "504 after",
    "dropped before",
    "dropped after",
    "success:false with id",
    "400 with id",
    "no id",
    "html",
    "broken",
    "stuck",
)
LISTS = ("410", "429", "empty", "truncated", "schema", "null fields", "text")
DESTROYS = ("429", "500", "500 after", "404 after")
ROUNDS = 12
"""Answers that a fault lasts: more than the reads of one look, less than a resume's patience."""


class Killed(BaseException):
    """The process died here."""


def die() -> None:
    raise Killed


class Life:
    """A deployment's leases on Vast.ai; every command is a process of its own, which remembers nothing of the last."""

    def __init__(self, world: VastWorld) -> None:
        self.world = world
        self.journal = MemoryJournal()
        self.foreign = {world.market.put_foreign(), world.market.put_foreign(str(Label(SOMEBODY_ELSE, "d", "x")))}

    def provisioner(self) -> VastProvisioner:
        self.world.clock.at += 5.0
        return self.world.provisioner()

    def pace(self, patience_s: float = 1200.0) -> Pace:
        clock = self.world.clock
        return Pace(90.0, 90.0, patience_s, clock=clock, now=clock, sleep=clock.sleep)

    async def lease(self, name: str, offer_id: str, usd: float = 0.45, crash: str = "") -> None:
        """Ask for an instance; it may fail in ways that a user is told of, or be killed."""
        bid = offer_id.endswith("-bid")
        wanted = Instance(name, offer_id, "vast", "Texas, US", "A6000", 1, 47.4, usd, disk_gb=120.0, interruptible=bid)
        with (
            patch.dict(os.environ, {"THUNDER_CRASH_AT": crash}),
            patch("provisioners.crash.die", die),
            suppress(ThunderError, Killed),
        ):
            await acquire(
                self.journal,
                self.provisioner(),
                intent(wanted),
                budget_usd_per_hour=BUDGET,
                price_tolerance=0.5,
                now=self.world.clock,
            )

    async def resume(self, patience_s: float = 1200.0) -> None:
        await resume(self.journal, self.provisioner(), **OURS, pace=self.pace(patience_s))

    async def down(self, crash: str = "") -> None:
        with patch.dict(os.environ, {"THUNDER_CRASH_AT": crash}), patch("provisioners.crash.die", die):
            await release(self.journal, self.provisioner(), **OURS, reason="down", pace=self.pace())

    def ours(self) -> list[Contract]:
        return [one for number, one in self.world.market.contracts.items() if number not in self.foreign]

    def billing(self) -> set[str]:
        """The lease ids on machines of ours."""
        labels = [Label.parse(text) for text in self.world.market.labels()]
        return {label.lease_id for label in labels if label and label.owner_id == OWNER}

    def check(self) -> None:
        assert self.billing() == {row.lease_id for row in self.journal.leases() if row.state.may_cost}
        assert usd_per_hour(self.journal.leases()) <= BUDGET
        assert self.foreign <= self.world.market.contracts.keys()

    async def check_to_the_end(self) -> None:
        """Resume finds the truth, a second one does nothing, and down leaves nothing of ours."""
        await self.resume()
        self.check()
        rows = self.journal.leases()
        assert not {row.state for row in rows} & {LeaseState.SENT, LeaseState.DELETING}
        await self.resume()
        assert self.journal.leases() == rows
        await self.down()
        assert not self.billing()
        self.check()


@pytest.fixture
def life():
    with vast_world() as world:
        yield Life(world)


@pytest.mark.parametrize("crash", ["", "C0", "C1", "C2", "C3", "C4", "C5"])
@pytest.mark.parametrize("offers", [("11", "12"), ("11-bid", "12-bid")])
async def test_no_answer_to_a_create_and_no_kill_around_it_loses_a_machine(crash, offers):
    for fault in CREATES:
        with vast_world() as world:
            life = Life(world)
            await life.lease("i0", offers[0])
            world.market.spoil("create", fault)
            await life.lease("i1", offers[1], crash=crash)
            await life.check_to_the_end()


@pytest.mark.parametrize("fault", LISTS)
@pytest.mark.parametrize("created", ["", "dropped after"])
async def test_a_listing_that_proves_nothing_ends_nothing_and_the_next_good_one_does(life, fault, created):
    await life.lease("i0", "11")
    life.world.market.spoil("create", created)
    await life.lease("i1", "12")
    before = life.journal.leases()
    life.world.market.spoil("list", *[fault] * ROUNDS)
    with suppress(Incomplete):
        await life.resume(patience_s=1.0)
    assert {row.lease_id for row in life.journal.leases() if row.state.may_cost} == {row.lease_id for row in before}
    await life.resume()
    life.check()
    assert states(life.journal) == [LeaseState.CREATED, LeaseState.CREATED]


@pytest.mark.parametrize("fault", DESTROYS)
@pytest.mark.parametrize("crash", ["", "C6", "C6-after", "C7"])
async def test_down_goes_on_until_nothing_of_ours_is_listed(life, fault, crash):
    await life.lease("i0", "11")
    await life.lease("i1", "12-bid")
    life.world.market.spoil("destroy", fault, fault)
    with suppress(Killed):
        await life.down(crash=crash)
    await life.resume()
    await life.down()
    assert states(life.journal) == [LeaseState.GONE, LeaseState.GONE]
    life.check()


async def test_an_outbid_machine_still_counts_until_it_is_released(life):
    await life.lease("i0", "11-bid")
    [contract] = life.ours()
    contract.stopped = True
    await life.resume()
    [row] = life.journal.leases()
    assert row.usd_per_hour == pytest.approx(contract.dph_total)
    assert row.usd_per_hour > 0
    await life.check_to_the_end()


async def test_a_price_that_was_raised_is_what_the_budget_counts(life):
    await life.lease("i0", "11")
    [contract] = life.ours()
    contract.gpus_usd_per_hour = 0.7
    await life.resume()
    assert usd_per_hour(life.journal.leases()) == pytest.approx(contract.dph_total)
    await life.lease("i1", "12")
    assert states(life.journal) == [LeaseState.CREATED]  # 0.7 and 0.5 are more than the budget


async def test_a_machine_that_a_host_takes_back_is_seen_to_be_gone(life):
    await life.lease("i0", "11")
    await life.lease("i1", "12")
    [first, _] = life.ours()
    del life.world.market.contracts[first.contract_id]
    await life.resume()
    assert states(life.journal) == [LeaseState.GONE, LeaseState.CREATED]


async def test_forty_leases_at_once_are_one_search_and_a_create_every_turn():
    with vast_world(*(bundle(n) for n in range(1, 41))) as world:
        world.market.limited = False  # clocks that jump let requests overtake each other; the turns are counted instead
        provisioner, journal, began = world.provisioner(), MemoryJournal(), world.clock.at
        wanted = [Instance(f"i{n}", str(n), "vast", "", "A6000", 1, 47.4, 0.45) for n in range(1, 41)]
        leases = (
            acquire(journal, provisioner, intent(one), budget_usd_per_hour=40.0, now=world.clock) for one in wanted
        )
        rows = await asyncio.gather(*leases)
        assert len({row.provider_id for row in rows}) == 40
        assert sum(method == "POST" for method, _, _ in world.market.asked) == 1
        assert world.clock.at - began == pytest.approx(39 * CREATE_S)
