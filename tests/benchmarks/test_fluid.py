"""The simulated world of `benchmarks.controller_at_scale`: its fluid, its prices, and a small fleet for a while."""

import numpy as np
import pytest

from benchmarks.fluid.days import Days
from benchmarks.fluid.fixed import Need, bought, sized
from benchmarks.fluid.fleet import GPUS, large_plan
from benchmarks.fluid.lived import Lived, Loss
from benchmarks.fluid.load import Load, coding_in, mixture
from benchmarks.fluid.prices import Prices
from benchmarks.fluid.rates import Rates
from benchmarks.fluid.report import by_minute
from benchmarks.fluid.service import Curve, Fluid, in_time
from thunderctl.spec.spec import Spec

EVEN = Curve(np.array([0.5, 1.0]), np.array([1.0, 0.9]), 1.0)
PAIR = [("p", "d", 1.0)]
PRICES = Prices({(gpu, "spot"): [(0.0, 0.5), (600.0, 0.25)] for gpu in GPUS}, 1200.0)


def test_who_keeps_up_attains_what_the_curve_says_of_the_busiest_end():
    assert Fluid(EVEN, 2.0).attained(PAIR, {"p": 10.0, "d": 20.0}, 7.5, 60.0) == pytest.approx(0.95)


def test_beyond_what_is_served_a_backlog_makes_everybody_late_until_it_is_gone():
    fluid = Fluid(EVEN, 2.0)
    fluid.attained(PAIR, {"p": 10.0, "d": 20.0}, 20.0, 60.0)
    assert fluid.backlog["p"] == 600.0
    assert fluid.attained(PAIR, {"p": 10.0, "d": 20.0}, 1.0, 60.0) == 0.0
    assert fluid.backlog["p"] == 60.0
    assert fluid.attained(PAIR, {"p": 10.0, "d": 20.0}, 1.0, 60.0) == pytest.approx(49 / 54)
    assert fluid.backlog["p"] == 0.0


def test_the_share_of_a_replica_that_is_gone_goes_to_the_others():
    fluid = Fluid(EVEN, 2.0)
    shares = [("p", "d", 0.5), ("q", "e", 0.5)]
    assert fluid.attained(shares, {"p": 10.0, "d": 20.0}, 5.0, 60.0) == 1.0
    assert fluid.attained(shares, {"p": 10.0}, 5.0, 60.0) == 0.0


def test_a_wait_that_passes_the_slack_half_way_leaves_half_in_time():
    assert in_time(np.array([0.0]), np.array([2.0]), 1.0) == pytest.approx([0.5])


@pytest.mark.parametrize("share", [0.0, 0.25, 0.8, 1.0])
def test_how_much_of_a_mixture_is_coding_is_known_by_its_prompts(share):
    assert coding_in(mixture(share)) == pytest.approx(share, abs=0.05)


def test_the_attainment_of_a_minute_is_that_of_its_parts_by_their_time():
    load = Load(np.array([600.0, 60.0]), np.array([0.0, 1.0]))
    lived = Lived(attained=[1.0, 0.0, 0.5], seconds=[45.0, 15.0, 60.0])
    assert by_minute(load, lived) == pytest.approx([0.75, 0.5])


def test_a_price_holds_until_the_next_was_seen_and_the_samples_begin_anew_at_their_end():
    assert [PRICES.at("L40S", at) for at in (0.0, 599.0, 600.0, 1300.0)] == [0.5, 0.5, 0.25, 0.5]


def test_a_fixed_fleet_is_no_larger_than_its_busiest_hour_needs_and_money_buys_more():
    hours = [Need(4.0, np.full((len(GPUS), 3), 2.0)), Need(8.0, np.full((len(GPUS), 3), 2.0))]
    usd = np.array([1.0, 2.0, 3.0, 4.0])
    least = sized(hours, usd, each=100.0)
    assert least.sum() == pytest.approx(8.0 / 0.9 / 2.0)
    assert bought(hours, usd, 100.0, spend=9.0).sum() == pytest.approx(9.0)


def test_a_small_fleet_loses_machines_and_has_them_replaced_within_its_budget(tmp_path):
    plan = large_plan(40, PRICES, coding_share=0.1, rate_rps=100.0, budget=22.0)
    load = Load(np.full(40, 6.0), np.full(40, 54.0))
    losses = [Loss(300.0, notice=False, pick=0.2), Loss(700.0, notice=True, pick=0.7)]
    spec = Spec.model_validate({"controller": {"rebalance": False}})
    world = Days(plan, spec, load, PRICES, Rates(plan), EVEN, losses, tmp_path / "controller")
    lived = world.live()
    assert (lived.lost, lived.leased) == (2, 2)
    assert lived.serving[-1] == 40
    assert min(lived.serving) >= 38
    assert max(lived.burned) <= 22.0
    assert float(np.mean(lived.attained)) > 0.9
