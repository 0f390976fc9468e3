"""What is tried again, and after how long: nothing that comes back every other look is tried without a pause."""

from functools import reduce

from thunderctl.controller.steps import Replace, Route
from thunderctl.controller.told import FADES_S, Told

I1, I2, BOTH = Replace(("i1",), "gone"), Replace(("i2",), "gone"), Replace(("i1", "i2"), "gone")


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


def test_of_two_that_are_decided_one_by_one_each_keeps_to_its_own_pauses():
    told, found = Told(), []
    for now in range(0, 400, 2):
        steps = [I1, *([I2] if now >= 100 else [])]
        told.keep(steps, now)
        if due := told.due(steps, now):
            together = reduce(Replace.and_also, due)
            found.append((now, together.instances, told.is_news(together)))
            told.failed(together, now)
    assert found == [
        (0, ("i1",), True),
        (100, ("i2",), True),
        (120, ("i1",), False),
        (220, ("i2",), False),
        (360, ("i1",), False),
    ]


def test_two_that_are_done_as_one_last_as_long_as_the_shorter_and_say_both_reasons():
    both = Replace(("i1",), "gone", 3.0).and_also(Replace(("i2",), "outbid", 2.0))
    assert both == Replace(("i1", "i2"), "gone; outbid", 2.0)
    assert both.and_also(Replace(("i3",), "lost")).until == 2.0
    assert I1.and_also(I2).until is None


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
