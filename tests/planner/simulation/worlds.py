"""Small worlds for the simulator: steady servers, requests as rows, and plans drawn at random."""

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from planner.demand import Floats
from planner.simulation.run import simulate
from planner.simulation.scenario import Epoch, Failure, Lane, Requests, Server, Timings, Wire
from tests.planner.paces import linear_pace

STEADY = linear_pace(fixed_s=0.1, token_s=0.001)
"""A pass takes 0.1 s and a millisecond a token: a prompt of 100 takes 0.2 s, a step of one sequence 0.101 s."""
SERVER = Server(STEADY, kv_tokens=10_000)
AT_ONCE = Server(linear_pace(fixed_s=1e-9), kv_tokens=10**9)
"""A server that takes no time."""


def requests(*rows: tuple[float, int, int], cached: Sequence[float] | None = None) -> Requests:
    """Rows of arrival in seconds, prompt tokens and output tokens."""
    arrival, prompt, output = np.array(rows, dtype=float).T
    return Requests(arrival, prompt, output, None if cached is None else np.array(cached, dtype=float))


def poisson(count: int, rate_rps: float, random: np.random.Generator) -> Floats:
    """Arrival times whose gaps are the quantiles of the exponential distribution in random order: a steadier mean."""
    return np.cumsum(random.permutation(-np.log1p(-(np.arange(count) + 0.5) / count))) / rate_rps


def played(what: Requests, servers: Sequence[Server], *lanes: Lane, failures: Sequence[Failure] = ()) -> Timings:
    """One epoch."""
    return simulate(what, servers, [Epoch(0.0, lanes)], failures, seed=0)


@st.composite
def servers(draw: st.DrawFn) -> Server:
    pace = linear_pace(
        fixed_s=draw(st.floats(0.001, 0.1)),
        token_s=draw(st.floats(1e-6, 1e-3)),
        pair_s=draw(st.floats(0, 1e-8)),
        context_s=draw(st.floats(0, 1e-6)),
        pp=draw(st.integers(1, 3)),
    )
    return Server(
        pace,
        kv_tokens=draw(st.integers(150, 4000)),
        max_sequences=draw(st.integers(1, 8)),
        tokens_per_pass=draw(st.integers(16, 600)),
    )


WIRES = tuple(Wire(f"w{i}", 10.0 ** (6 + i)) for i in range(3))


@st.composite
def lanes(draw: st.DrawFn, count: int) -> Lane:
    prefill, decode = draw(st.integers(0, count - 1)), draw(st.integers(0, count - 1))
    share = draw(st.floats(0.05, 1.0))
    if prefill == decode:
        return Lane(prefill, decode, share)
    crossed = draw(st.lists(st.sampled_from(WIRES), unique=True, max_size=3))
    return Lane(prefill, decode, share, draw(st.floats(0, 0.2)), draw(st.floats(0, 1e-4)), 1000.0, tuple(crossed))


def times(most_s: int) -> st.SearchStrategy[float]:
    """Seconds in 64ths, so that things often happen at once, and half a time is one as well."""
    return st.integers(0, most_s * 64).map(lambda n: n / 64)


@st.composite
def scenarios(draw: st.DrawFn) -> tuple[Requests, list[Server], list[Epoch], list[Failure]]:
    """Any requests, servers, epochs and failures."""
    fleet = draw(st.lists(servers(), min_size=1, max_size=4))
    size = st.integers(1, 200)
    rows = sorted(draw(st.lists(st.tuples(times(5), size, st.integers(1, 60)), min_size=1, max_size=40)))
    share = draw(st.floats(0, 0.9))
    starts = sorted(draw(st.lists(times(6), max_size=2)))
    lane_lists = st.lists(lanes(len(fleet)), min_size=1, max_size=5)
    epochs = [Epoch(at_s, tuple(draw(lane_lists))) for at_s in [0.0, *starts]]
    failing = st.lists(st.tuples(st.integers(0, len(fleet) - 1), times(8)), max_size=3)
    failures = [Failure(*one) for one in draw(failing)]
    return requests(*rows, cached=[np.floor(share * prompt) for _, prompt, _ in rows]), fleet, epochs, failures
