"""Figures are held to what was wanted or promised, and two plans to each other."""

from tests.thunderctl.tui import worlds
from tests.thunderctl.web.deployments import two_plans
from thunderctl.web.comparison import compare
from thunderctl.web.drawing import bar, until
from thunderctl.web.figures import figures_of, held_to_plan, projected_usd


def verdicts(document):
    return {one.name: one.verdict for one in figures_of(document)}


def test_what_is_out_of_bounds_is_marked():
    assert verdicts(worlds.degraded()) == {
        "SLO attainment": "bad",
        "TTFT p99": "bad",
        "TPOT p99": "good",
        "Requests": "",
        "Burning": "good",
        "Spent": "",
        "Time left": "bad",
    }


def test_a_late_hundredth_is_a_warning_where_most_are_in_time():
    assert verdicts(worlds.serving())["TTFT p99"] == "warn"


def test_of_what_is_not_measured_nothing_is_said():
    found = {one.name: (one.value, one.verdict) for one in figures_of(worlds.starting())}
    assert found["SLO attainment"] == found["TTFT p99"] == ("-", "")


def test_a_fleet_beyond_its_budget_is_marked():
    assert verdicts(worlds.serving(cost_usd_per_hour=14.2))["Burning"] == "bad"


def test_simulated_and_observed_stand_side_by_side():
    row = next(one for one in held_to_plan(worlds.serving()) if one.name == "TTFT p99")
    assert (row.predicted, row.observed, row.target, row.verdict) == ("2.20 s", "2.31 s", "2.00 s", "warn")


def test_without_a_plan_nothing_is_promised():
    assert list(held_to_plan(worlds.absent())) == []


def test_what_it_will_have_cost_is_projected_from_what_an_hour_costs_now():
    assert projected_usd(worlds.serving()) == 43.02 + 8.2 * 11.32


def test_no_more_is_projected_than_may_be_spent():
    document = worlds.serving(cost_usd_per_hour=99.0)
    assert projected_usd(document) == 150.0


def test_what_does_not_end_is_not_projected():
    assert projected_usd(worlds.absent()) is None


def test_two_plans_differ_in_money_promises_phases_and_machines():
    plans = two_plans()
    found = compare(plans["k7f3q1"], plans["k7f3q2"])
    rows = {one.name: (one.a, one.b, one.better) for one in found.rows}
    assert rows["Cost an hour"] == ("$13.16", "$11.32", "b")
    assert rows["Goodput, requests/s"] == ("8.10", "9.20", "b")
    assert rows["TTFT p50"][2] == ""
    assert found.flips == (("d2", "prefill", "decode"),)
    assert [one.split(" · ")[:2] for one in found.only_a] == [["i5", "4 × A100"]]
    assert found.only_b == ()


def test_of_two_figures_that_are_written_alike_none_is_better():
    plans = two_plans()
    for plan, tpot in zip(plans.values(), (0.0088, 0.0092), strict=True):
        plan["predicted"] |= {"tpot_p50_s": tpot}
    rows = {one.name: one for one in compare(*plans.values()).rows}
    assert rows["TPOT p50"].a == rows["TPOT p50"].b
    assert rows["TPOT p50"].better == ""


def test_a_plan_is_like_itself():
    plan = two_plans()["k7f3q2"]
    found = compare(plan, plan)
    assert (found.flips, found.only_a, found.only_b) == ((), (), ())
    assert all(not one.better for one in found.rows)


def test_a_bar_is_never_longer_than_its_room_and_little_can_be_seen():
    assert [bar(one) for one in (None, 0.0, 0.001, 0.5, 7.0)] == ["0.0%", "0.0%", "2.0%", "50.0%", "100.0%"]


def test_an_end_on_another_day_names_the_day():
    assert (until(worlds.NOW + 60, worlds.NOW), until(worlds.NOW + 86400, worlds.NOW)) == ("08:01", "01-16 08:00")
