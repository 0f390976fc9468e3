"""A split plan, and runs of it: played, and made up to show one thing."""

from collections.abc import Callable

import numpy as np
import pytest

from planner.demand import demand_of
from planner.deployment import Phase, Plan
from planner.evaluate import measure, outcomes, requests_at
from planner.replay import Mark, Replay, replay
from planner.simulation.scenario import Requests, Timings
from planner.traces import workload_named
from planner.workload import Slo
from tests.planner.plans import split_plan


@pytest.fixture(autouse=True)
def _home(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="session")
def plan() -> Plan:
    return split_plan()


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
