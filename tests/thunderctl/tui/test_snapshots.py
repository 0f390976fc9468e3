"""The status screen looks as it did when somebody last looked at its pictures (`--snapshot-update` takes new ones)."""

import pytest

from planner.errors import HostError
from tests.thunderctl.tui import worlds
from tests.thunderctl.tui.showing import Done, decided, screen, settled

SMALL, LARGE, HUGE = (80, 24), (120, 40), (200, 50)


@pytest.mark.parametrize("size", [SMALL, LARGE, HUGE], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("world", ["serving", "degraded"])
def test_a_deployment(snap_compare, world, size):
    app = screen(getattr(worlds, world)(), series=worlds.series(late=world == "degraded"))
    assert snap_compare(app, terminal_size=size, run_before=settled)


@pytest.mark.parametrize("world", ["starting", "stopping", "absent", "alone", "many", "long_names"])
def test_other_deployments_on_a_small_screen(snap_compare, world):
    assert snap_compare(screen(getattr(worlds, world)()), terminal_size=SMALL, run_before=settled)


def test_without_colours(snap_compare, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(screen(worlds.degraded()), terminal_size=SMALL, run_before=settled)


def test_one_that_cannot_be_read_any_more(snap_compare):
    app = screen(worlds.serving(), HostError("The store's server at db.example:5432 can't be reached."))

    async def failed(pilot):
        await settled(pilot)
        await pilot.press("f5")
        await settled(pilot)

    assert snap_compare(app, terminal_size=LARGE, run_before=failed)


@pytest.mark.parametrize(
    "keys",
    [["r"], ["down", "d"], ["m", "down", "u"], ["question_mark"]],
    ids=["rebalance", "drain", "undrain", "keys"],
)
def test_pages_in_front(snap_compare, keys):
    async def opened(pilot):
        await settled(pilot)
        await pilot.press(*keys)
        await decided(pilot)

    assert snap_compare(screen(worlds.serving(), hands=Done()), terminal_size=SMALL, run_before=opened)
