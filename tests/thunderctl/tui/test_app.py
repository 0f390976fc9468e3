"""The status screen shows the status document, keeps it fresh, and survives what it can't read."""

import json
from pathlib import Path

from textual.widgets import DataTable, Static

from planner.errors import HostError
from thunderctl.tui.app import StatusApp

STATUS = json.loads((Path(__file__).parents[1] / "status_example.json").read_text())


class Reader:
    """Gives the documents in turn, the last one again and again; an error is raised."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)

    async def __call__(self):
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def shown(app, name):
    table = app.query_one(f"#{name}", DataTable)
    return [[str(cell) for cell in table.get_row_at(row)] for row in range(table.row_count)]


async def read_again(pilot, times=1):
    for _ in range(times):
        await pilot.press("r")
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()


async def test_it_shows_instances_replicas_routes_latency_and_cost():
    app = StatusApp(Reader(STATUS), every_s=60)
    async with app.run_test(size=(120, 40)) as pilot:
        await read_again(pilot)
        assert [row[:3] for row in shown(app, "replicas")] == [["r0", "prefill", "ready"], ["r1", "decode", "failed"]]
        assert shown(app, "replicas")[0][4:] == ["2", "1", "40%"]
        assert shown(app, "routes") == [["r0", "r1", "100.0%", "int4"]]
        assert shown(app, "links") == [["i0", "i1", "3.52", "0.4", "12 s ago"]]
        assert shown(app, "instances")[1][-1] == "the agent [l1] can't be reached"
        assert shown(app, "predicted")[0] == ["TTFT p50", "310 ms", "400 ms"]
        assert shown(app, "predicted")[-1] == ["", "", "uncalibrated"]
        headline = str(app.query_one("#headline", Static).render())
        assert "$0.060/h of $0.060/h" in headline
        assert "Replica r1 failed" in str(app.query_one("#alerts", Static).render())


async def test_it_follows_a_flip():
    flipped = {**STATUS, "epoch": 4, "replicas": [{**STATUS["replicas"][0], "phase": "decode"}]}
    app = StatusApp(Reader(STATUS, flipped), every_s=60)
    async with app.run_test(size=(120, 40)) as pilot:
        await read_again(pilot, times=2)
        assert [row[1] for row in shown(app, "replicas")] == ["decode"]
        assert "epoch 4" in str(app.query_one("#headline", Static).render())


async def test_what_it_cannot_read_is_said_and_the_last_frame_stays():
    app = StatusApp(Reader(STATUS, HostError("the store is gone")), every_s=60)
    async with app.run_test(size=(120, 40)) as pilot:
        await read_again(pilot, times=2)
        assert "the store is gone" in str(app.query_one("#alerts", Static).render())
        assert len(shown(app, "replicas")) == 2


async def test_an_absent_deployment_is_an_empty_screen_and_q_leaves():
    empty = {**STATUS, "state": "absent", "instances": [], "replicas": [], "routes": [], "predicted": {}, "alerts": []}
    app = StatusApp(Reader(empty), every_s=60)
    async with app.run_test(size=(120, 40)) as pilot:
        await read_again(pilot)
        assert not app.query_one("#replicas", DataTable).display
        await pilot.press("q")
    assert app.return_code == 0


def test_the_screen_looks_as_it_did(snap_compare):
    assert snap_compare(StatusApp(Reader(STATUS), every_s=60), terminal_size=(120, 40))
