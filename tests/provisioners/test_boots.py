"""A machine that boots for too long is stuck; one that comes up in between begins anew."""

from provisioners.base import Machine
from provisioners.boots import Boots
from tests.provisioners.fakes import FakeClock

LOADING, UP = Machine("1", "label", "loading", 0.4), Machine("1", "label", "running", 0.4)


def watched(clock: FakeClock) -> Boots:
    return Boots(600.0, lambda machine: machine.state == "loading", clock)


def test_one_that_boots_for_longer_than_is_waited_is_stuck_and_says_so():
    clock = FakeClock()
    boots = watched(clock)
    assert not boots.judged(LOADING).problem
    clock.at += 600
    assert not boots.judged(LOADING).problem
    clock.at += 1
    assert boots.judged(LOADING).problem == "stuck: still loading after 601 s"


def test_one_that_was_up_in_between_has_all_the_time_again():
    clock = FakeClock()
    boots = watched(clock)
    boots.judged(LOADING)
    clock.at += 500
    assert boots.judged(UP) == UP
    clock.at += 500
    assert not boots.judged(LOADING).problem
