"""Who goes when many are connected that nobody knows yet."""

import pytest

from runtime.relay import strangers
from runtime.relay.strangers import DALLIED_S, Strangers
from tests.runtime.routing import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def crowd(clock, monkeypatch):
    """Names stand for tasks, and begin with the address that they came from."""
    monkeypatch.setattr(strangers, "LIMIT_STRANGERS", 4)
    found = Strangers(clock)
    for name in ("a1", "b1", "a2", "a3"):
        found.add(name, name[0])
    return found


def test_few_are_let_be(crowd):
    assert crowd.are_many
    crowd.discard("a2")
    crowd.discard("a2")
    assert not crowd.are_many


def test_who_has_dallied_longest_goes(crowd, clock):
    clock.seconds += DALLIED_S
    assert crowd.who_goes_for("a") == crowd.who_goes_for("c") == "a1"
    crowd.discard("a1")
    assert crowd.who_goes_for("a") == "b1"


def test_of_those_who_have_just_come_one_goes_for_somebody_from_elsewhere(crowd):
    assert crowd.who_goes_for("b") == crowd.who_goes_for("c") == "a1"


def test_nobody_who_has_just_come_goes_for_one_more_from_where_most_are_from(crowd):
    assert crowd.who_goes_for("a") is None
    crowd.discard("a1")
    crowd.discard("a2")
    crowd.add("b2", "b")
    crowd.add("b3", "b")
    assert (crowd.who_goes_for("a"), crowd.who_goes_for("b")) == ("b1", None)
