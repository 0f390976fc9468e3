"""What the screen is fed by and acts with: the store, processes of our own, and a loop beside the screen."""

import asyncio
import sys
import threading
from pathlib import Path

import psutil
import pytest

from planner.errors import ThunderError
from tests.thunderctl.tui import worlds
from thunderctl.store.store import Store
from thunderctl.tui.background import Background
from thunderctl.tui.command_hands import CommandHands, answer_of
from thunderctl.tui.decision import Wish
from thunderctl.tui.store_feed import StoreFeed
from thunderctl.world import World


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path))
    with Store() as store:
        yield World("default", store, tmp_path / "deployments" / "default")


async def test_the_store_feeds_it_a_status_its_events_and_the_series_of_what_was_read(world):
    world.store.record("default", "rebalance", "epoch 2: r0 decode → prefill")
    world.store.record("other", "rebalance", "not ours")
    now = [1000.0]
    feed = StoreFeed(world, lambda: now[0])
    for _ in range(3):
        assert (await feed.status())["state"] == "absent"
        now[0] += 1
    assert [event["message"] for event in await feed.events()] == ["epoch 2: r0 decode → prefill"]
    assert [point["at"] for point in await feed.series(3600)] == [1000.0, 1001.0, 1002.0]
    assert len(await feed.series(1.5)) == 1


def hands_of(world, script, tmp_path):
    """Hands whose command is a Python script instead of ours; its arguments are what ours would get."""
    path = tmp_path / "command.py"
    path.write_text(script)
    return CommandHands(world, [sys.executable, str(path)])


async def test_a_rebalance_is_our_command_in_a_process_of_its_own(world, tmp_path):
    hands = hands_of(world, "import json, sys; print(json.dumps({'arguments': sys.argv[1:]}))", tmp_path)
    shown = await hands.decide("coding", Wish(("r0", "i1")), dry_run=True)
    assert shown["arguments"] == [
        *("--deployment", "default", "rebalance", "--json", "--workload", "coding"),
        *("--dry-run", "--without", "r0", "--without", "i1"),
    ]
    assert (await hands.decide("observed", Wish(), dry_run=False))["arguments"][-1] == "--yes"
    back = await hands.decide("observed", Wish(back="i1"), dry_run=False)
    assert back["arguments"][2:] == ["undrain", "--json", "--workload", "observed", "--yes", "--", "i1"]


def test_the_command_that_is_run_is_one_that_there_is():
    """As it is parsed by the command line itself."""
    from thunderctl.cli.main import app

    for words in (["rebalance", "--without", "r0"], ["undrain"]):
        with pytest.raises(SystemExit) as ended:
            app([*words, "--json", "--workload", "coding", "--dry-run", "--help"])
        assert ended.value.code == 0


async def test_what_it_refuses_is_raised_with_its_hint(world, tmp_path):
    said = "{'error': {'kind': 'Refused', 'message': 'not serving', 'hint': 'thunderctl up'}}"
    hands = hands_of(world, f"import json, sys; print(json.dumps({said})); sys.exit(4)", tmp_path)
    with pytest.raises(ThunderError, match="not serving") as refused:
        await hands.decide("observed", Wish(), dry_run=True)
    assert refused.value.hint == "thunderctl up"


@pytest.mark.parametrize(("code", "said"), [(1, b""), (0, b""), (-9, b"{"), (3, b'{"flips": []}')])
def test_a_command_that_gives_no_answer_is_an_error_with_its_last_words(code, said):
    with pytest.raises(ThunderError, match="the disk is full"):
        answer_of(code, said, b"Traceback\nthe disk is full\n")


WAITS = """
import os, pathlib, sys, time
pathlib.Path(sys.argv[0]).with_name('beginning').write_text(str(os.getpid()))
os.rename(pathlib.Path(sys.argv[0]).with_name('beginning'), pathlib.Path(sys.argv[0]).with_name('began'))
while not pathlib.Path(sys.argv[0]).with_name('go').exists(): time.sleep(0.01)
pathlib.Path(sys.argv[0]).with_name('ended').touch()
"""


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def begun(folder: Path) -> None:
    async with asyncio.timeout(120):
        while not (folder / "began").exists():
            await asyncio.sleep(0.01)


async def test_a_preview_that_nobody_waits_for_is_ended(world, tmp_path):
    hands = hands_of(world, WAITS, tmp_path)
    asking = asyncio.create_task(hands.decide("observed", Wish(), dry_run=True))
    await begun(tmp_path)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    async with asyncio.timeout(120):
        while running(int((tmp_path / "began").read_text())):
            await asyncio.sleep(0.01)
    assert not (tmp_path / "ended").exists()


async def test_what_was_confirmed_goes_on_when_the_screen_is_left(world, tmp_path):
    hands = hands_of(world, WAITS, tmp_path)
    asking = asyncio.create_task(hands.decide("observed", Wish(), dry_run=False))
    await begun(tmp_path)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    (tmp_path / "go").touch()
    async with asyncio.timeout(120):
        while not (tmp_path / "ended").exists():
            await asyncio.sleep(0.01)


async def test_the_loop_beside_the_screen_gives_results_and_errors_and_is_left_without_waiting():
    async def failing():
        raise ThunderError("no")

    async def answering():
        return threading.current_thread().name

    stuck = threading.Event()
    with Background() as background:
        assert await background.run(answering()) == "status reading"
        with pytest.raises(ThunderError, match="no"):
            await background.run(failing())

        async def blocking():
            stuck.wait(60)

        waiting = asyncio.create_task(background.run(blocking()))
        await asyncio.sleep(0)
    waiting.cancel()
    stuck.set()


async def test_leaving_cancels_what_runs_there():
    cancelled = threading.Event()

    async def waiting():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with Background() as background:
        task = asyncio.create_task(background.run(waiting()))
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()


def test_series_and_status_have_the_same_figures():
    from thunderctl.api.series import point_of

    assert set(point_of(worlds.serving(), 1.0)) >= set(worlds.series()[0])
