"""A sample of the crash matrix over every provider's fake; benchmarks/leases.py plays all of it."""

import pytest

from tests.provisioners.lease_cases import Case, cases, play, sample
from tests.provisioners.lease_life import BOOT_POINTS, LeaseLife
from tests.provisioners.lease_worlds import WORLDS, FakeWorld, ours

EVERY = {"aws": 9, "vast": 4, "runpod": 2}
"""Of a world on the wire only every so many-th case of the sample is played: moto takes most of a second for one. The
fake, where a case is quick, plays all, and so does `make soak` of every world."""


@pytest.mark.parametrize(
    ("name", "every"),
    [(name, EVERY.get(name, 1)) for name in WORLDS] + [pytest.param(name, 1, marks=pytest.mark.soak) for name in EVERY],
)
def test_whatever_goes_wrong_what_bills_is_what_the_journal_says(name, every, tmp_path):
    with WORLDS[name](tmp_path / "0") as world:
        chosen = list(sample(cases(world)))
    for number, case in enumerate(chosen[::every], 1):
        with WORLDS[name](tmp_path / str(number)) as world:
            try:
                play(world, case)
            except AssertionError as error:
                raise AssertionError(f"{name}: {case}") from error


def test_a_killed_process_does_nothing_more():
    life = LeaseLife(FakeWorld())
    for name in ("i0", "i1"):
        life.lease(name, "offer")
    assert life.down("C6-after")
    assert [row.state for row in life.journal.leases()] == ["deleting", "deleting"]
    assert len(ours(life.world)) == 1  # the other ask was about to be made


def test_a_host_is_killed_at_every_point_of_its_bootstrap_and_gone_on_with_to_the_end():
    life = LeaseLife(FakeWorld())
    life.lease("i0", "offer")
    needs = []
    for point in BOOT_POINTS:
        assert life.boot(point)
        [host] = life.hosts.values()
        needs.append(len(host.needs))
        assert [row.state for row in life.journal.leases()] == ["created"]
    assert needs == sorted(needs, reverse=True)
    assert (needs[0] > needs[3], needs[3:]) == (True, [0, 0])
    assert not life.boot()
    life.check_booted()


def test_the_matrix_notices_a_machine_that_is_called_ready_and_is_not_prepared(monkeypatch):
    async def hasty(*_):
        return None

    with monkeypatch.context() as patched:
        patched.setattr("tests.provisioners.lease_life.prepare", hasty)
        with pytest.raises(AssertionError):
            play(FakeWorld(), Case(boot_at="B2"))
    play(FakeWorld(), Case(boot_at="B2"))


def test_the_matrix_notices_a_journal_that_forgets(monkeypatch):
    life = LeaseLife(FakeWorld())
    monkeypatch.setattr(life.journal, "add_lease", lambda _row: None)
    life.world.spoil("create", "dropped after")
    life.lease("i0", "offer")
    with pytest.raises(AssertionError):
        life.check_always()


@pytest.mark.parametrize("listing", ["empty", "failed", "truncated"])
def test_the_matrix_notices_listings_that_are_believed_too_easily(monkeypatch, listing):
    monkeypatch.setattr("provisioners.leases.observe.why_not_trusted", lambda _listing, _rows: "")
    with pytest.raises(AssertionError, match="ended a lease"):
        play(FakeWorld(), Case(listing=listing))


def test_the_matrix_notices_an_absence_that_is_believed_at_once(monkeypatch):
    monkeypatch.setattr("provisioners.leases.observe.Absences.proven", lambda *_: True)
    with pytest.raises(AssertionError):
        play(FakeWorld(), Case(happening="listed late"))


def test_a_sample_has_every_fault_and_every_point():
    found = list(cases(FakeWorld()))
    assert {part for case in sample(found) for part in case.parts} == {part for case in found for part in case.parts}
