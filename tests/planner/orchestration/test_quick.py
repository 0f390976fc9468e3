"""The quick solvers against the statement in words."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.orchestration.flow import Flow, Transport
from planner.orchestration.quick import _by_highs, _in_proportion, most_flow
from planner.orchestration.transport import most_flow as stated
from tests.planner.orchestration.test_transport import transport


@st.composite
def problems(draw) -> Transport:
    """Up to four replicas of each side, some of them dead for what they are for, with wires and a price at times."""
    prefilling, serving = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    use = st.one_of(st.floats(0.05, 2.0), st.just(np.inf))
    shape = (prefilling, serving)
    decode_use = np.array(draw(st.lists(use, min_size=serving, max_size=serving)))
    local_use = np.array(draw(st.lists(use, min_size=serving, max_size=serving)))
    wires = draw(st.integers(0, 3))

    def table(values: st.SearchStrategy[float], *size: int) -> np.ndarray:
        count = int(np.prod(size))
        return np.array(draw(st.lists(values, min_size=count, max_size=count))).reshape(size)

    return Transport(
        prefill_use=table(use, *shape),
        decode_use=decode_use,
        local_use=local_use,
        hop_s=np.zeros(shape),
        wire_gbit=table(st.sampled_from([0.0, 0.7]), wires, *shape),
        wire_gbit_per_s=table(st.floats(0.1, 5.0), wires),
        usd_per_hour=table(st.sampled_from([0.0, 0.0, 0.3]), *shape),
        budget_usd_per_hour=draw(st.floats(0.0, 2.0)),
    )


def kept_limits(problem: Transport, flow: Flow) -> bool:
    pairs = np.where(
        flow.pairs > 0, flow.pairs, np.nan
    )  # an impossible pair has an infinite use, and must carry nothing
    local = np.where(flow.local > 0, flow.local, np.nan)
    prefilled = np.nansum(problem.prefill_use * pairs, axis=1)
    decoded = np.nansum(problem.decode_use * pairs, axis=0) + np.nan_to_num(problem.local_use * local, posinf=np.inf)
    sent = (problem.wire_gbit * flow.pairs).sum(axis=(1, 2))
    paid = (problem.usd_per_hour * flow.pairs).sum()
    limits = [(prefilled, 1.0), (decoded, 1.0), (sent, problem.wire_gbit_per_s), (paid, problem.budget_usd_per_hour)]
    return all(np.all(used <= most + 1e-6) for used, most in limits)


@settings(max_examples=60)
@given(problems())
def test_it_finds_what_the_statement_in_words_finds(problem):
    flow = most_flow(problem)
    assert flow.served_rps == pytest.approx(stated(problem).served_rps, abs=1e-6)
    assert kept_limits(problem, flow)


rates = st.lists(st.floats(0.5, 9.0), min_size=1, max_size=5)


@settings(max_examples=60)
@given(rates, rates, st.lists(st.floats(0.5, 9.0), max_size=3), st.floats(0.0, 40.0))
def test_sharing_in_proportion_is_the_most_where_it_is_possible(prefill, decode, mixed, gbit_per_s):
    """Some replicas decode and others serve alone; one wire takes half a gigabit for every request."""
    shape = (len(prefill), len(decode) + len(mixed))
    problem = transport(
        prefill,
        [*decode, *[0.0] * len(mixed)],
        [*[0.0] * len(decode), *mixed],
        wire_gbit=np.full((1, *shape), 0.5),
        wire_gbit_per_s=np.array([gbit_per_s]),
    )
    quick, exact = _in_proportion(problem), _by_highs(problem)
    least = min(sum(prefill), sum(decode))
    assert (quick is None) == (0.5 * least > gbit_per_s) or 0.5 * least == pytest.approx(gbit_per_s)
    if quick:
        assert quick.served_rps == pytest.approx(exact.served_rps, abs=1e-6)
        assert kept_limits(problem, quick)


def test_a_replica_of_both_kinds_a_dead_one_and_unlike_hops_are_left_to_highs():
    assert _in_proportion(transport([2.0], [3.0], [1.0])) is None
    assert _in_proportion(transport([2.0, 0.0], [3.0])) is None
    assert _in_proportion(transport([4.0], [9.0, 9.0], prefill_use=np.array([[0.25, 0.5]]))) is None


def test_twelve_replicas_on_wires_take_it_about_a_millisecond():
    """Generous here, as other work may share the machine; the benchmark prints the real figure."""
    chance = np.random.default_rng(0)
    problem = transport(
        chance.uniform(1, 5, 6),
        chance.uniform(1, 5, 6),
        wire_gbit=chance.integers(0, 2, (8, 6, 6)).astype(float),
        wire_gbit_per_s=chance.uniform(2, 9, 8),
    )
    took = []
    for _ in range(20):
        begun = time.perf_counter()
        most_flow(problem)
        took.append(time.perf_counter() - begun)
    assert min(took) < 2e-3
