"""A little of the soak that `make soak` runs for half an hour: engines die under load, and no client can tell."""

from benchmarks.router_soak_mocks import soak_mocks
from benchmarks.router_soak_record import Soak

SECONDS, KILL_EVERY_S, CLIENTS = 8.0, 2.5, 8


async def test_no_request_fails_and_no_text_is_wrong_while_engines_are_killed():
    soak = await soak_mocks(seconds=SECONDS, kill_every_s=KILL_EVERY_S, at_once=CLIENTS)
    assert not soak.tally.wrong
    assert soak.killed[:2] == ["d0", "p0"]
    assert soak.moved > 0


def test_growth_is_that_after_the_warm_up():
    soak = Soak("", resident_mb=[10.0, 50.0, 100.0, *[100.0] * 6, 110.0])
    assert (soak.warm_mb, soak.last_mb) == (100.0, 110.0)
    assert round(soak.growth, 6) == 0.1
