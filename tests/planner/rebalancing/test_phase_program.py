"""The program in all phases against the one that pairs, and its cuts against what they bound."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.orchestration.flow import Transport
from planner.orchestration.transport import most_flow
from planner.rebalancing.phase_program import PhaseProgram

rates = st.floats(0.2, 9.0)


@st.composite
def worlds(draw) -> tuple[Transport, np.ndarray]:
    """Up to four replicas, each on both sides, with one wire that some pairs share and a budget."""
    n = draw(st.integers(1, 4))

    def table(*shape: int) -> np.ndarray:
        return np.array(draw(st.lists(rates, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))).reshape(
            shape
        )

    blocked = np.array(draw(st.lists(st.booleans(), min_size=n * n, max_size=n * n))).reshape(n, n)
    transport = Transport(
        prefill_use=np.where(blocked, np.inf, 1 / table(n, n)),
        decode_use=1 / table(n),
        local_use=np.full(n, np.inf),
        hop_s=np.zeros((n, n)),
        wire_gbit=table(1, n, n),
        wire_gbit_per_s=np.array([draw(st.floats(0.5, 200.0))]),
        usd_per_hour=table(n, n),
        budget_usd_per_hour=draw(st.floats(0.5, 200.0)),
    )
    return transport, table(n)


def paired_rps(transport: Transport, mixed_rps: np.ndarray, phases: np.ndarray) -> float:
    """The most flow of the pairs that a designation leaves, and what its mixed replicas serve."""
    sources, targets = np.flatnonzero(phases == 0), np.flatnonzero(phases == 1)
    alone = float(mixed_rps[phases == 2].sum())
    if not len(sources) or not len(targets):
        return alone
    pairs = np.ix_(sources, targets)
    left = replace(
        transport,
        prefill_use=transport.prefill_use[pairs],
        decode_use=transport.decode_use[targets],
        local_use=transport.local_use[targets],
        hop_s=transport.hop_s[pairs],
        wire_gbit=transport.wire_gbit[:, sources][:, :, targets],
        usd_per_hour=transport.usd_per_hour[pairs],
    )
    return most_flow(left).served_rps + alone


@settings(max_examples=60)
@given(worlds(), st.data())
def test_a_designation_serves_what_pairing_finds_and_its_cut_bounds_all_others(world, data):
    transport, mixed = world
    program = PhaseProgram(transport, mixed)
    some = st.lists(st.integers(0, 2), min_size=len(mixed), max_size=len(mixed)).map(np.array)
    one, other = data.draw(some), data.draw(some)
    cut = program.at(one)
    assert cut.served_rps == pytest.approx(paired_rps(transport, mixed, one), rel=1e-4, abs=1e-4)
    assert cut.bound_rps(one) == pytest.approx(cut.served_rps)
    wanted = paired_rps(transport, mixed, other)
    assert cut.bound_rps(other) >= wanted - 1e-4 * max(1.0, wanted)
    assert program.relaxed().served_rps >= wanted - 1e-4 * max(1.0, wanted)
    assert (cut.prices >= 0).all()
