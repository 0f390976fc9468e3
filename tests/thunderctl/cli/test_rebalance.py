"""What `rebalance --json` says of a rebalance."""

from dataclasses import replace

from planner.catalog import Link
from planner.deployment import Phase
from planner.rebalance import Rebalanced
from tests.planner.plans import split_plan
from tests.thunderctl.observing.observed import heard, seen, view
from thunderctl.cli.decided import Decided, InForce, becomes, document
from thunderctl.cli.rebalance import known_to
from thunderctl.observing.links import KnownLinks

UNKNOWN = KnownLinks({}, {})


def unchanged(current, known):
    return Decided(current, (), Rebalanced(current, None, (), 0.04, 2.5), known)


def test_the_document_has_the_flips_the_reasons_and_both_predictions():
    current = split_plan()
    before = replace(current, predicted=replace(current.predicted, slo_attainment=0.71))
    flipped = replace(current, replicas=(current.replicas[0], *(r.flipped(Phase.MIXED) for r in current.replicas[1:])))
    found = Rebalanced(flipped, before, ("r1 decode → mixed: …",), 0.04, 2.5)
    said = document(Decided(current, (), found, UNKNOWN), InForce(flipped, 8, 0.3))
    assert said["flips"] == [{"replica": "r1", "from": "decode", "to": "mixed"}]
    assert said["changes"] is True
    assert (said["decide_s"], said["confirm_s"], said["apply_s"], said["epoch"]) == (0.04, 2.5, 0.3, 8)
    assert said["plan_id"] == flipped.plan_id
    assert said["why"] == ["r1 decode → mixed: …"]
    assert said["predicted_before"]["slo_attainment"] == 0.71
    assert said["predicted_after"]["slo_attainment"] == current.predicted.slo_attainment


def test_without_a_forecast_of_what_is_in_force_the_plans_own_stands():
    current = split_plan()
    said = document(unchanged(current, UNKNOWN), InForce(current, 8))
    assert said["predicted_before"] == said["predicted_after"]
    assert said["changes"] is False


def test_the_document_says_what_each_link_rests_on():
    current = split_plan()
    known = KnownLinks({("o1", "o2"): Link(1.0, 2.0)}, {("i2", "i1"): Link(3.0, 0.5)})
    said = document(unchanged(current, known), InForce(current, 8))
    assert said["links"] == [
        {"from": "i1", "to": "i2", "bandwidth_gbit_per_s": 1.0, "latency_ms": 2.0, "basis": "stated"},
        {"from": "i2", "to": "i1", "bandwidth_gbit_per_s": 3.0, "latency_ms": 0.5, "basis": "measured"},
    ]


def test_a_file_of_links_goes_before_what_agents_measured_and_what_is_old_is_said(tmp_path, capsys):
    file = tmp_path / "links.csv"
    file.write_text("from,to,bandwidth_gbit_per_s,latency_ms\no1,o2,40,0.5\n")
    observation = seen(view("i1", heard("i2")), view("i2", heard("i1"), heard("i0", age_s=9000.0)), view("i0"))
    known = known_to(split_plan(), file, observation)
    assert (known.stated, known.measured) == ({("o1", "o2"): Link(40.0, 0.5)}, {("i2", "i1"): Link(3.0, 0.4)})
    assert "i0 → i2 was last heard from 2.5 h ago" in capsys.readouterr().err


def test_the_table_says_what_becomes_of_each_replica():
    assert becomes(Phase.PREFILL, Phase.DECODE) == "decode"
    assert becomes(Phase.PREFILL, Phase.PREFILL) == "stays"
    assert becomes(Phase.PREFILL, None) == "left out"
