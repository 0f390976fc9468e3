"""The quick program of an even spread against the one stated in words."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.orchestration import balance, transport
from planner.orchestration.flow import HOP_WEIGHT, Flow, Transport

rates = st.floats(0.2, 9.0)


@st.composite
def worlds(draw) -> Transport:
    """Up to three replicas a side, some of which serve alone; one wire that all pairs share, and a budget."""
    shape = draw(st.integers(1, 3)), draw(st.integers(1, 3))

    def table(*size: int) -> np.ndarray:
        count = int(np.prod(size))
        return np.array(draw(st.lists(rates, min_size=count, max_size=count))).reshape(size)

    alone = np.array(draw(st.lists(st.booleans(), min_size=shape[1], max_size=shape[1])))
    return Transport(
        prefill_use=1 / table(*shape),
        decode_use=np.where(alone, np.inf, 1 / table(shape[1])),
        local_use=np.where(alone, 1 / table(shape[1]), np.inf),
        hop_s=table(*shape),
        wire_gbit=table(1, *shape),
        wire_gbit_per_s=np.array([draw(st.floats(1.0, 100.0))]),
        usd_per_hour=table(*shape),
        budget_usd_per_hour=draw(st.floats(1.0, 100.0)),
    )


def busiest(world: Transport, flow: Flow) -> tuple[float, float]:
    """Of the prefill replicas and of the others: the part of its time that the busiest is busy."""
    decode, local = (np.where(np.isfinite(use), use, 0.0) for use in (world.decode_use, world.local_use))
    serving = decode * flow.pairs.sum(axis=0) + local * flow.local
    return float((world.prefill_use * flow.pairs).sum(axis=1).max()), float(serving.max())


def goal(world: Transport, flow: Flow, demand_rps: float) -> float:
    """What both minimise: how busy the busiest of either side are, and a little of the hops."""
    return float(sum(busiest(world, flow)) + HOP_WEIGHT * (world.hop_s * flow.pairs).sum() / demand_rps)


@settings(max_examples=40)
@given(worlds(), st.floats(0.1, 0.999))
def test_it_spreads_as_evenly_as_the_stated_program(world, part):
    demand_rps = transport.most_flow(world).served_rps * part
    quick, stated = balance.balanced_flow(world, demand_rps), transport.balanced_flow(world, demand_rps)
    assert quick.served_rps == pytest.approx(demand_rps, rel=1e-6)
    assert goal(world, quick, demand_rps) == pytest.approx(goal(world, stated, demand_rps), rel=1e-5, abs=1e-6)
    assert max(busiest(world, quick)) <= 1 + 1e-6
    assert (world.wire_gbit * quick.pairs).sum() <= world.wire_gbit_per_s[0] * (1 + 1e-6)
    assert (world.usd_per_hour * quick.pairs).sum() <= world.budget_usd_per_hour * (1 + 1e-6)


def test_nobody_is_given_more_than_it_can_for_an_idle_prefill_replica():
    """A prefill replica that does most of its work for one decode replica, and a third one that serves alone."""
    world = Transport(
        prefill_use=np.array([[0.09, 0.09]]),
        decode_use=np.array([0.06, np.inf]),
        local_use=np.array([np.inf, 0.15]),
        hop_s=np.array([[0.1, 0.1]]),
        wire_gbit=np.zeros((0, 1, 2)),
        wire_gbit_per_s=np.zeros(0),
        usd_per_hour=np.zeros((1, 2)),
        budget_usd_per_hour=0.0,
    )
    most = transport.most_flow(world).served_rps * 0.999
    for flow in (balance.balanced_flow(world, most), transport.balanced_flow(world, most)):
        assert max(busiest(world, flow)) <= 1
