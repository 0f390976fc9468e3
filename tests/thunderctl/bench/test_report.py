"""What is reported of a load: measured beside simulated, and null for what nobody knows."""

from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from planner.errors import ThunderError
from planner.simulation.scenario import Requests
from runtime.messages import AgentHealth
from tests.planner.plans import split_plan
from tests.thunderctl.observing.observed import seen, view
from thunderctl.bench import running
from thunderctl.bench.load import Answer
from thunderctl.bench.report import Bench, bench_json, ratio, simulated
from thunderctl.bench.running import admitted, kv_received
from thunderctl.bench.tally import Tally
from thunderctl.cli.tables.bench import asides, bench_table, live_table, progress_line

PLAN = split_plan()


def run(answers=12, **more):
    """Twenty requests in ten seconds: the first ones answered alike, one failed, one under way, the others not sent."""
    requests = Requests(np.arange(20) / 2, np.full(20, 800.0), np.full(20, 101.0))
    tally = Tally.of(requests, PLAN.slo)
    for number in range(answers + 2):
        tally.sent(number, number / 2 + 0.001)
    for number in range(answers):
        tally.answered(number, Answer(0.4, 5.4, 101))
    tally.failed(answers, "503 overloaded")
    return Bench(PLAN, 3, "http://h/v1", tally, 4, 0, 10.0, **more)


def test_the_document_has_what_simulate_has_and_the_prediction_beside():
    done = run(interrupted=True, kv_bytes=5e9)
    found = bench_json(done, simulated(done))
    assert found["schema"] == "thunder.bench/v1"
    assert {
        "requests",
        "completed",
        "rejected",
        "duration_s",
        "wall_s",
        "slo_attainment",
        "goodput_rps",
    } <= found.keys()
    assert {"throughput_tokens_per_s", "kv_bytes", "replicas", "ttft_p90_s", "tpot_p99_s", "e2e_p99_s"} <= found.keys()
    assert (found["requests"], found["completed"], found["failed"], found["under_way"]) == (14, 12, 1, 1)
    assert (found["rejected"], found["failures"], found["interrupted"]) == (4, {"503 overloaded": 1}, True)
    assert (found["ttft_p50_s"], found["tpot_p50_s"]) == (pytest.approx(0.4), pytest.approx(0.05))
    assert found["slo_attainment"] == pytest.approx(12 / 13)
    assert found["predicted"]["goodput_rps"] == PLAN.predicted.goodput_rps
    assert found["predicted"]["rate_rps"] == PLAN.workload.rate_rps
    assert found["simulated"]["requests"] == 14, "the very requests that were sent"
    assert found["measured_to_simulated"]["ttft_p50_s"] == pytest.approx(0.4 / found["simulated"]["ttft_p50_s"])
    assert found["meets_target"] is True


def test_before_anything_was_sent_figures_are_null():
    requests = Requests(np.zeros(1), np.full(1, 8.0), np.full(1, 8.0))
    nothing = Bench(PLAN, 0, "http://h/v1", Tally.of(requests, PLAN.slo), 0, 0, 0.1, interrupted=True)
    assert simulated(nothing) is None
    found = bench_json(nothing, None)
    assert (found["requests"], found["ttft_p50_s"], found["simulated"], found["meets_target"]) == (0, None, None, None)
    assert set(found["measured_to_simulated"].values()) == {None}
    assert "interrupted" in shown(bench_table(nothing, None))


def test_a_ratio_needs_two_figures():
    assert ratio(2.0, 4.0) == 0.5
    assert ratio(None, 4.0) is ratio(2.0, None) is ratio(2.0, 0.0) is None
    assert ratio(0.0, 0.5) == 0.0


def shown(*renderables):
    console = Console(width=120, record=True, file=StringIO())
    for one in renderables:
        console.print(one)
    return console.export_text()


def test_the_table_sets_measured_beside_simulated_and_the_plan():
    done = run(kv_bytes=5e9)
    lines = shown(bench_table(done, simulated(done)), *asides(done)).splitlines()
    ttft = next(line.split() for line in lines if "TTFT p50" in line)
    assert ttft[2:4] == ["400", "ms"]
    assert ttft[-2:] == ["500", "ms"], "the plan's own"
    said = "\n".join(lines)
    assert "failed      1: 503 overloaded" in said
    assert "under way   1 at the end" in said
    assert "too long    4" in said
    assert "KV moved    5 GB" in said
    assert "uncalibrated" in said


def test_attainment_of_nothing_met_is_shown_and_is_not_missing():
    done = run(answers=0)
    assert "0.0%" in shown(bench_table(done, None))


def test_while_it_lasts_it_says_how_far_it_is():
    done = run()
    assert progress_line(done.tally).startswith("14 of 20 sent (2.00/s), 1 under way; TTFT p50 400 ms, p90 400 ms")
    assert "1 failed" in progress_line(done.tally)
    table = shown(live_table(done.tally))
    assert "14 of 20" in table
    assert "target 2.00 s" in table
    assert "503 overloaded" in table


def test_what_the_plan_does_not_admit_is_not_sent_and_the_first_comes_at_once():
    asked = Requests(np.array([100.0, 101.0, 103.0]), np.array([10.0, 9000.0, 20.0]), np.array([5.0, 5.0, 0.0]))
    sent, too_long = admitted(PLAN, asked)
    assert too_long == 1
    assert sent.arrival_s.tolist() == [0.0, 3.0]
    assert sent.output.tolist() == [5.0, 1.0]


def test_a_request_that_asks_for_no_token_needs_room_for_the_one_that_it_is_sent_for():
    full = float(PLAN.max_model_len)
    sent, too_long = admitted(PLAN, Requests(np.array([0.0, 1.0]), np.array([full, full - 1]), np.array([0.0, 0.0])))
    assert (too_long, sent.prompt.tolist()) == (1, [full - 1])


def test_what_was_measured_is_not_lost_where_the_deployment_can_not_be_looked_at_any_more(monkeypatch):
    async def locked(_):
        raise ThunderError("The store is locked.")

    monkeypatch.setattr(running, "observe_once", locked)
    assert running._looked_again(None) is None


def agents(**counts):
    views = [view(name) for name in counts]
    for one, (name, kv) in zip(views, counts.items(), strict=True):
        object.__setattr__(one, "health", AgentHealth(name, "1", kv=kv) if kv is not None else None)
    return seen(*views)


def test_kv_that_moved_is_what_agents_received_meanwhile():
    before = agents(i0={"received_bytes_int4": 100.0, "failed": 1.0}, i1={})
    after = agents(i0={"received_bytes_int4": 400.0, "failed": 9.0}, i1={"received_bytes_raw": 50.0})
    assert kv_received(before, after) == 350.0
    assert kv_received(before, agents(i0={"received_bytes_int4": 400.0}, i1=None)) is None
    assert kv_received(agents(), agents()) is None
