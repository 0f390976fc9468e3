"""The status screen: it shows the document, keeps it fresh, survives what it can't read, and asks before it acts."""

import asyncio
import threading

import pytest
from textual.widgets import Input, RichLog

from planner.errors import HostError, Refused
from tests.thunderctl.tui import worlds
from tests.thunderctl.tui.showing import Done, decided, page, part, read_again, screen, settled, until
from thunderctl.tui.screens.overview import Overview
from thunderctl.tui.widgets.rows import Rows

SMALL, LARGE = (80, 24), (120, 40)


async def test_it_shows_money_latency_replicas_routes_and_events():
    app = screen(worlds.serving())
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        assert "$11.32/h" in part(app, "heading")
        assert "of $14.00   $43.02 of $150.00 spent" in part(app, "heading")
        assert "8 h 12 min left" in part(app, "heading")
        assert "p50  620 ms   p99  2.31 s  target  2.00 s" in part(app, "strip")
        assert "96% meet SLO (≥ 90%)" in part(app, "strip")
        assert "7/8 +2" in part(app, "replicas")
        assert "26.0% int4   3.52 Gbit/s" in part(app, "routes")
        assert part(app, "happened").splitlines()[0].split()[:2] == ["07:59:18", "plan.in_force"]


@pytest.mark.parametrize(
    ("model", "host", "shown"),
    [
        ("llama-30b", "127.0.0.1", "  llama-30b  http://127.0.0.1:8000/v1  epoch 7  "),
        ("meta-llama/Llama-3.1-70B-Instruct", "192.168.100.100", "  serving  http://192.168.100.100:8000/v1 "),
        ("llama-30b", "thunder.some-company.com", "  serving  http://thunder.some-company.com:8000/v1 "),
    ],
)
async def test_the_endpoint_is_shown_whole_where_all_else_has_to_give_way(model, host, shown):
    app = screen(worlds.serving(model=model, endpoint=f"http://{host}:8000/v1"))
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        assert shown.strip() in part(app, "heading").splitlines()[0].replace("● ", "")


async def test_it_follows_a_flip():
    flipped = worlds.serving(epoch=8)
    flipped["replicas"][4]["phase"] = "prefill"
    app = screen(worlds.serving(), flipped)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        assert "decode  3 ready" in part(app, "replicas")
        await read_again(pilot)
        assert "prefill  3 ready" in part(app, "replicas")
        assert "epoch 8" in part(app, "heading")


async def test_what_cannot_be_read_is_said_with_since_when_and_the_last_frame_stays_greyed_until_it_can():
    now = [worlds.NOW]
    broken = HostError("the store is gone")
    app = screen(worlds.serving(), broken, broken, worlds.serving(), clock=lambda: now[0])
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        assert part(app, "notices") == ""
        await read_again(pilot)
        now[0] += 14
        await read_again(pilot)
        assert "Can't be read since 08:00:00 UTC (14 s); tried again: the store is gone" in part(app, "notices")
        assert "p0" in part(app, "replicas")
        assert app.overview.has_class("old")
        await read_again(pilot)
        assert part(app, "notices") == ""
        assert not app.overview.has_class("old")


async def test_a_deployment_that_can_never_be_read_says_why():
    app = screen(HostError("the store is gone"))
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        assert "the store is gone" in part(app, "notices")


async def test_an_absent_deployment_says_what_to_run_and_q_leaves():
    app = screen(worlds.absent())
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        assert "thunderctl up" in part(app, "nothing")
        assert not app.overview.query_one("#replicas", Rows).is_drawn
        await pilot.press("q")
    assert app.return_code == 0


async def test_while_it_comes_up_machines_have_the_place_of_replicas_and_m_shows_these():
    app = screen(worlds.starting())
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        machines, replicas = (app.overview.query_one(f"#{name}", Rows) for name in ("machines", "replicas"))
        assert (machines.is_drawn, replicas.is_drawn) == (True, False)
        assert "2 of 5 machines, 2 of 6 replicas ready" in part(app, "heading")
        assert part(app, "machines").splitlines()[-1].split()[-1] == "awaited"
        await pilot.press("m")
        assert (machines.is_drawn, replicas.is_drawn) == (False, True)


async def test_what_was_hidden_gets_its_room_as_it_is_shown():
    app = screen(worlds.serving())
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("m")
        await settled(pilot)
        machines = app.overview.query_one("#machines", Rows)
        assert machines.size.height == len(machines.rows) == 5


async def test_reading_that_blocks_holds_up_neither_keys_nor_the_end():
    """A driver that waits for its server blocks the thread it is called in."""
    let_go, began = threading.Event(), threading.Event()
    app = screen(worlds.serving())

    async def blocked():
        began.set()
        let_go.wait(60)
        return worlds.serving()

    app._feed.status = blocked
    try:
        async with app.run_test(size=SMALL) as pilot:
            await pilot.pause()
            assert began.wait(10)
            await pilot.press("question_mark")
            assert "rebalance" in page(app)
            await pilot.press("escape", "q")
    finally:
        let_go.set()
    assert app.return_code == 0


async def test_a_look_that_takes_long_is_not_begun_twice():
    app = screen(worlds.serving())
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        let_go = threading.Event()
        ordinary, asked = app._feed.status, []

        async def slow():
            asked.append(1)
            await asyncio.to_thread(let_go.wait, 60)
            return await ordinary()

        app._feed.status = slow
        await pilot.press("f5", "f5", "f5")
        let_go.set()
        await settled(pilot)
        assert len(asked) == 1


async def test_it_is_laid_out_anew_when_the_terminal_changes_its_size():
    app = screen(worlds.serving())
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        assert not app.overview.query_one("#charts").display
        await pilot.resize_terminal(*LARGE)
        await settled(pilot)
        assert app.overview.query_one("#charts").display
        assert "until leases end" in part(app, "heading")
        assert app.overview.query_one("#machines", Rows).is_drawn
        await pilot.resize_terminal(*SMALL)
        await settled(pilot)
        assert not app.overview.query_one("#charts").display


@pytest.mark.parametrize(
    "world",
    [
        *(worlds.degraded, worlds.starting, worlds.many),
        *(
            pytest.param(one, marks=pytest.mark.soak)
            for one in (worlds.serving, worlds.stopping, worlds.absent, worlds.alone)
        ),
    ],
)
async def test_no_part_is_pushed_off_the_screen_whatever_its_size(world):
    app = screen(world())
    async with app.run_test(size=SMALL) as pilot:
        for width, height in [SMALL, (100, 30), LARGE, (200, 50), (60, 16), SMALL]:
            await pilot.resize_terminal(width, height)
            await settled(pilot)
            drawn = [one for one in app.overview.query(Rows) if one.is_drawn]
            assert drawn
            assert all(one.region.height >= 2 and one.region.bottom <= height - 1 for one in drawn), (width, height)
            assert all(one.region.right <= width for one in drawn)


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_of_five_hundred_replicas_crowds_are_listed_and_whom_to_look_at(size):
    app = screen(worlds.huge())
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        assert len(part(app, "replicas").splitlines()) < 45
        assert "prefill  118 of 120 ready" in part(app, "replicas")
        assert "failed: torch.OutOfMemory" in part(app, "replicas")
        assert "and 488 more: / finds them" in part(app, "replicas")
        assert len(part(app, "machines").splitlines()) < 25
        assert "72× 4×L40S" in part(app, "machines")
        assert len(part(app, "routes").splitlines()) < 60
        await pilot.press("slash", *"d101", "enter")
        assert "d101" in part(app, "replicas")
        assert len(part(app, "replicas").splitlines()) == 2


async def test_a_crowd_can_be_looked_into_and_not_be_drained():
    hands = Done()
    app = screen(worlds.huge(), hands=hands)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("d")
        assert hands.asked == []
        await pilot.press("enter")
        assert page(app).count("ready") == 28
        assert "p132" in page(app)


async def test_what_the_controller_waits_with_is_said_and_the_rest_where_there_is_room():
    adapting = worlds.adapting()
    content = worlds.adapting(predicted_best=0.83, gain=0.0, waits="", cooling_until=0.0)
    first, then = (worlds.serving(controller={"state": "running", "adapting": one}) for one in (adapting, content))
    app = screen(first, then)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        assert "Not yet: the last change is too recent" in " ".join(part(app, "notices").split())
        await read_again(pilot)
        assert part(app, "notices") == ""
        await pilot.resize_terminal(*LARGE)
        await settled(pilot)
        assert "nothing better is known" in part(app, "notices")


async def test_what_is_chosen_stays_chosen_while_rows_come_and_go_and_is_scrolled_into_sight():
    fewer = worlds.many(36)
    app = screen(worlds.many(40), fewer)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press(*["down"] * 25)
        replicas = app.overview.query_one("#replicas", Rows)
        chosen = replicas.chosen
        place = next(n for n, row in enumerate(replicas.rows) if row.name == chosen)
        assert replicas.scroll_offset.y <= place < replicas.scroll_offset.y + replicas.size.height
        await read_again(pilot)
        assert replicas.chosen == chosen
        await pilot.press("end")
        assert replicas.chosen == replicas.rows[-1].name
        await pilot.press("home")
        assert replicas.scroll_offset.y == 0


async def test_a_click_chooses_a_row_and_a_heading_is_none():
    app = screen(worlds.serving())
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        replicas = app.overview.query_one("#replicas", Rows)
        await pilot.click("#replicas", offset=(5, 3))
        assert replicas.chosen == "p1"
        await pilot.click("#replicas", offset=(5, 1))
        assert replicas.chosen == "p1"


async def test_a_filter_leaves_the_rows_that_hold_it_and_escape_brings_back_all():
    app = screen(worlds.serving())
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("slash", *"d1")
        assert part(app, "replicas").split()[:3] == ["decode", "1", "ready"]
        assert len(part(app, "routes").splitlines()) == 2
        await pilot.press("enter")
        assert "only rows with d1" in part(app, "notices")
        assert not isinstance(app.focused, Input)
        await pilot.press("escape")
        assert "p0" in part(app, "replicas")
        assert "only rows" not in part(app, "notices")


async def test_enter_shows_all_that_is_known_of_a_replica_and_of_an_event():
    app = screen(worlds.degraded())
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot)
        await pilot.press("down", "down", "down", "down", "enter")
        assert "torch.OutOfMemoryError: CUDA out of memory" in page(app)
        await pilot.press("escape")
        app.overview.query_one("#happened", Rows).focus()
        await pilot.press("enter")
        assert "in place of k7f3q1" in page(app)


async def test_alerts_that_have_no_room_are_a_key_away():
    app = screen(worlds.degraded())
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        assert "and 1 more: a" in part(app, "notices")
        await pilot.press("a")
        assert "Tried to allocate 1.20 GiB" in page(app)


async def test_a_rebalance_is_shown_and_only_enter_puts_it_in_force():
    hands = Done(worlds.decided(), worlds.decided(epoch=8))
    app = screen(worlds.serving(), hands=hands)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("r")
        await decided(pilot)
        assert hands.asked == [("observed", (), True)]
        assert "d2  decode → prefill" in page(app)
        assert "83%        94% better" in page(app)
        await pilot.press("enter")
        await decided(pilot)
        assert hands.asked[1:] == [("observed", (), False)]
        assert "Epoch 8 is in force." in page(app)
        await pilot.press("enter")
        assert isinstance(app.screen, Overview)


async def test_leaving_a_rebalance_changes_nothing():
    hands = Done(worlds.decided())
    app = screen(worlds.serving(), hands=hands)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("r")
        await decided(pilot)
        await pilot.press("escape", "enter", "escape")
        assert [asked[-1] for asked in hands.asked] == [True]


async def test_where_nothing_would_change_enter_does_nothing_and_another_workload_can_be_asked_for():
    hands = Done(worlds.decided(flips=False), worlds.decided())
    app = screen(worlds.serving(), hands=hands)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("r")
        await decided(pilot)
        assert "No replica changes its phase." in page(app)
        await pilot.press("enter")
        assert len(hands.asked) == 1
        await pilot.press("c")
        await decided(pilot)
        assert hands.asked[1] == ("coding", (), True)


async def test_a_rebalance_that_is_refused_says_why_and_what_to_do():
    hands = Done(Refused("Only 3 requests were observed.", hint="Say what is coming instead."))
    app = screen(worlds.serving(), hands=hands)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("r")
        await decided(pilot)
        assert "Only 3 requests were observed." in page(app)
        assert "Say what is coming instead." in page(app)
        await pilot.press("enter")
        assert len(hands.asked) == 1


async def test_that_something_else_was_put_in_force_than_was_shown_is_said():
    other = worlds.decided(epoch=8) | {"flips": []}
    app = screen(worlds.serving(), hands=Done(worlds.decided(), other))
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("r")
        await decided(pilot)
        await pilot.press("enter")
        await decided(pilot)
        assert "changed meanwhile" in page(app)


async def test_draining_is_a_rebalance_without_the_chosen_one_that_says_what_it_leaves():
    hands = Done(worlds.decided())
    app = screen(worlds.serving(), hands=hands)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("down", "d")
        await decided(pilot)
        assert hands.asked == [("observed", ("p1",), True)]
        assert "stays rented" in page(app)
        assert "`thunderctl undrain p1`" in " ".join(page(app).split())


async def test_what_was_drained_is_taken_back_as_it_was_drained_shown_first():
    hands = Done(worlds.decided(), worlds.decided(epoch=8))
    app = screen(worlds.serving(), hands=hands)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("m", "down", "u")
        await decided(pilot)
        assert hands.asked == [("observed", "i1", True)]
        assert app.screen.query_one(".page").border_title == "Undrain i1"
        assert "with i1 back" in page(app)
        await pilot.press("c")
        await decided(pilot)
        await pilot.press("enter")
        await decided(pilot)
        assert hands.asked[1:] == [("coding", "i1", True), ("coding", "i1", False)]


async def test_all_keys_that_are_named_fit_on_a_small_screen():
    app = screen(worlds.serving())
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        keys = list(app.screen.query("FooterKey"))
        assert "Undrain" in [one.description for one in keys]
        assert max(one.region.right for one in keys) <= 80


@pytest.mark.parametrize("key", ["d", "u"])
async def test_draining_with_nothing_chosen_asks_for_a_choice(key):
    hands = Done()
    app = screen(worlds.serving(), hands=hands)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        app.overview.query_one("#routes", Rows).focus()
        await pilot.press(key)
        assert hands.asked == []
        assert isinstance(app.screen, Overview)


async def test_logs_of_what_is_chosen_are_followed_without_orders_to_the_terminal():
    told = [("p0", ["\x1b[31mred\x1b[0m", "second"]), ("", ["i2 is silent."])]
    hands = Done(logs=told)
    app = screen(worlds.serving(), hands=hands)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("l")
        log = app.screen.query_one("#log", RichLog)
        await until(pilot, lambda: len(log.lines) == 3)
        assert hands.asked == [("logs", ("p0",))]
        assert [line.text.rstrip() for line in log.lines] == ["red", "second", "· i2 is silent."]
        await pilot.press("escape")
        assert isinstance(app.screen, Overview)


async def test_what_names_and_messages_hold_gives_the_terminal_no_orders():
    wild = worlds.serving(model="\x1b]0;owned\x07llama", alerts=["[bold]\x1b[2Jgone[/bold]\nsecond"])
    app = screen(wild)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        assert "\x1b" not in part(app, "heading") + part(app, "notices")
        assert "[bold]gone[/bold] second" in part(app, "notices")


async def test_a_document_of_an_older_version_is_shown_as_far_as_it_goes():
    older = worlds.serving()
    for key in ("ending", "slo", "awaited", "at"):
        del older[key]
    for entry in older["replicas"]:
        del entry["max_requests"], entry["tp"]
    for entry in older["routes"]:
        del entry["measured_gbit_per_s"], entry["planned_gbit_per_s"]
    for entry in older["instances"]:
        for key in ("gpu", "gpu_count", "expires_at", "created_at", "interruptible", "reason"):
            del entry[key]
    app = screen(older)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot)
        assert "unmeasured" in part(app, "routes")
        assert "41" in part(app, "replicas")
