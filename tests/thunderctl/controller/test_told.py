"""What is tried again, and after how long: nothing that comes back every other look is tried without a pause."""

from thunderctl.controller.steps import Replace, Route
from thunderctl.controller.told import FADES_S, Told

I1, BOTH = Replace(("i1",), "gone"), Replace(("i1", "i2"), "gone")


def tries(decided, until_s):
    """When what is decided, every two seconds, was tried and failed."""
    told, found = Told(), []
    for now in range(0, until_s, 2):
        steps = decided(now)
        told.keep(steps, now)
        for step in told.due(steps, now):
            found.append(now)
            told.failed(step, now)
    return found


def test_a_machine_that_can_not_be_replaced_is_tried_for_after_2_4_8_and_16_minutes():
    assert tries(lambda _: [I1], 4000) == [0, 120, 360, 840, 1800, 3720]


def test_what_is_not_decided_in_every_other_look_is_tried_no_sooner():
    often = tries(lambda now: [I1] if now % 4 == 0 else [], 4000)
    assert often == [0, 120, 360, 840, 1800, 3720]


def test_another_one_that_is_lost_too_is_tried_for_at_once_and_makes_the_first_no_sooner():
    assert tries(lambda now: [BOTH] if 100 <= now < 110 else [I1], 2000) == [0, 100, 340, 820, 1780]


def test_what_was_not_decided_for_long_begins_anew():
    gap = range(10, int(FADES_S) + 100)
    found = tries(lambda now: [] if now in gap else [I1], 4000)
    assert found[:3] == [0, gap.stop, gap.stop + 120]


def test_a_route_that_is_decided_again_later_is_news_and_has_no_pause():
    route = Route(frozenset({"r0"}), "r1 left out")
    told = Told()
    told.failed(route, 0.0, "The router can't be reached.")
    assert [one.text for one in told.failing] == ["The router can't be reached."]
    assert told.due([route], 1.0) == []
    told.keep([], 1.0)
    assert told.due([route], 1.0) == [route]
    assert told.failing == ()


def test_what_is_put_off_is_said_until_it_is_tried():
    told = Told()
    told.wait(I1, 500.0, "i1 failed 4 times in a row.")
    told.keep([I1], 10.0)
    assert told.due([I1], 499.0) == []
    assert [one.text for one in told.failing] == ["i1 failed 4 times in a row."]
    assert told.due([I1], 500.0) == [I1]
    told.failed(I1, 500.0)
    assert told.failing == ()
