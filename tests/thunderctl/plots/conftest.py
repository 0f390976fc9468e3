"""A split plan written by hand, and runs of it: played, and made up to show one thing."""

from collections.abc import Callable

import numpy as np
import pytest

from planner.demand import demand_of
from planner.deployment import (
    Bound,
    Codec,
    DemandSummary,
    Instance,
    Phase,
    Plan,
    Predicted,
    Replica,
    Route,
    SearchReport,
    Stage,
)
from planner.evaluate import measure, outcomes, requests_at
from planner.models import llm_named
from planner.replay import Mark, Replay, replay
from planner.simulation.scenario import Requests, Timings
from planner.traces import workload_named
from planner.workload import Slo


@pytest.fixture(autouse=True)
def _home(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="session")
def plan() -> Plan:
    """One prefill and one decode replica of llama-3.1-8b on two cards, and a mixed one on a third."""
    llm = llm_named("llama-3.1-8b")
    return Plan(
        plan_id="abc123",
        created_at="2026-09-01T12:00:00Z",
        market_as_of="2026-09-01T00:00:00Z",
        market_source="file",
        goal="goodput",
        budget_usd_per_hour=5.0,
        cost_usd_per_hour=3.0,
        llm=llm,
        max_model_len=8192,
        dtype=llm.dtype,
        workload=DemandSummary("conversation", 3.0, 1150.0, 211.0),
        slo=Slo(),
        instances=(Instance("i0", "o0", "vast", "Earth", "A6000", 3, 47.4, 3.0),),
        replicas=(
            Replica("r0", Phase.PREFILL, (Stage("i0", (0,), 32),), 4.0, 150_000),
            Replica("r1", Phase.DECODE, (Stage("i0", (1,), 32),), 7.0, 150_000),
            Replica("r2", Phase.MIXED, (Stage("i0", (2,), 32),), 1.0, 150_000),
        ),
        routes=(Route("r0", "r1", 0.75, Codec.RAW, 64.0), Route("r2", "r2", 0.25, Codec.LOCAL)),
        predicted=Predicted(3.0, 0.93, 630.0, 0.5, 1.9, 0.05, 0.1, 1.4, 0.0, calibrated=False),
        bound=Bound(3.3, 0.09),
        search=SearchReport(3.0, 0.5, 2, 0),
    )


@pytest.fixture(scope="session")
def played(plan: Plan) -> Replay:
    """A minute of the plan's workload, in which the mixed replica fails half way."""
    demand = demand_of(workload_named("conversation"), plan.max_model_len)
    return replay(plan, requests_at(3.0, demand, 60.0, seed=1), failures=[(30.0, "r2")], seed=1)


@pytest.fixture(scope="session")
def made() -> Callable[..., Replay]:
    """A run in which requests come each second, with latencies and use as given; a replica has 100 tokens of KV."""

    def run(
        ttft_s,
        tpot_s,
        busy_s=((1.0,),),
        phases=(Phase.MIXED,),
        bucket_s=1.0,
        marks: tuple[Mark, ...] = (),
        kv_held=None,
    ):
        ttft, tpot, busy = (np.array(values, dtype=np.float64) for values in (ttft_s, tpot_s, busy_s))
        size = len(ttft)
        arrival, output = np.arange(size, dtype=np.float64), np.full(size, 11.0)
        none = np.zeros(size, dtype=np.int64)
        end_s = busy.shape[1] * bucket_s
        timings = Timings(
            first_s=arrival + ttft,
            last_s=arrival + ttft + 10 * tpot,
            prefill=none,
            decode=none,
            epoch=none,
            preemptions=none,
            busy_s=busy,
            kv_held=np.zeros_like(busy) if kv_held is None else np.array(kv_held),
            bucket_s=bucket_s,
            peak_kv=np.zeros(len(busy)),
            end_s=end_s,
            events=0,
        )
        requests = Requests(arrival, np.full(size, 100.0), output)
        return Replay(
            measures=measure(outcomes(requests, timings), Slo(), end_s),
            rejected=0,
            kv_bytes=0.0,
            replicas=tuple(f"r{i}" for i in range(len(busy))),
            phases=tuple(phases),
            kv_tokens=(100,) * len(busy),
            numbers=np.arange(size),
            requests=requests,
            timings=timings,
            marks=marks,
        )

    return run
