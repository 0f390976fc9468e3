"""What `rebalance --json` says of a rebalance."""

from dataclasses import replace

from planner.deployment import Phase
from planner.rebalance import Rebalanced
from tests.planner.plans import split_plan
from thunderctl.cli.rebalance import InForce, _becomes, _document


def test_the_document_has_the_flips_the_reasons_and_both_predictions():
    current = split_plan()
    before = replace(current, predicted=replace(current.predicted, slo_attainment=0.71))
    flipped = replace(current, replicas=(current.replicas[0], *(r.flipped(Phase.MIXED) for r in current.replicas[1:])))
    document = _document(
        current, Rebalanced(flipped, before, ("r1 decode → mixed: …",), 0.04, 2.5), InForce(flipped, 8, 0.3)
    )
    assert document["flips"] == [{"replica": "r1", "from": "decode", "to": "mixed"}]
    assert (document["decide_s"], document["confirm_s"], document["apply_s"], document["epoch"]) == (0.04, 2.5, 0.3, 8)
    assert document["plan_id"] == flipped.plan_id
    assert document["why"] == ["r1 decode → mixed: …"]
    assert document["predicted_before"]["slo_attainment"] == 0.71
    assert document["predicted_after"]["slo_attainment"] == current.predicted.slo_attainment


def test_without_a_forecast_of_what_is_in_force_the_plans_own_stands():
    current = split_plan()
    document = _document(current, Rebalanced(current, None, (), 0.04, 2.5), InForce(current, 8))
    assert document["predicted_before"] == document["predicted_after"]


def test_the_table_says_what_becomes_of_each_replica():
    assert _becomes(Phase.PREFILL, Phase.DECODE) == "decode"
    assert _becomes(Phase.PREFILL, Phase.PREFILL) == "stays"
    assert _becomes(Phase.PREFILL, None) == "left out"
