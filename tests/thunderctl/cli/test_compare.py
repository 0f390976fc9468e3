"""`thunderctl plan --compare` as people and scripts meet it."""

import json
from dataclasses import replace

import pytest

from planner.baselines.compare import BASELINES, Compared, beside
from planner.deployment import Alternative
from tests.planner.plans import split_plan
from thunderctl.cli.compare import compare_table
from thunderctl.cli.main import main
from thunderctl.cli.tables.plan import plan_tables

OFFERS = "provider,gpu,gpu_count,usd_per_hour,offer_id\nvast,A6000,1,0.4,card\nvast,L40S,1,0.9,other\n"


def test_the_plan_names_every_baseline_among_its_alternatives(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.csv").write_text(OFFERS)
    with pytest.raises(SystemExit) as ended:
        main(["plan", "--model", "qwen3-8b", "--offers", "two.csv", "--budget", "1.5", "--compare", "--json"])
    shown = capsys.readouterr()
    assert ended.value.code == 0
    plan = json.loads(shown.out)
    named = {one["name"]: one for one in plan["alternatives"]}
    assert set(BASELINES) <= set(named)
    assert all(named[name]["cost_usd_per_hour"] <= 1.5 for name in BASELINES)
    assert named["hexgen"]["goodput_rps"] > 0
    assert "hexgen: " in shown.err


def test_a_baseline_that_serves_more_is_said_in_a_note():
    plan = split_plan()
    better = Compared("vllm", None, plan.predicted.goodput_rps * 1.2, 0.0)
    told = beside(plan, [better])
    assert f"Baseline vllm serves 20.0% more than this plan: {better.goodput_rps:.2f} requests/s." in told.notes
    assert told.plan_id != plan.plan_id


def test_a_baseline_that_serves_less_is_an_alternative_alone():
    plan = split_plan()
    told = beside(plan, [Compared("vllm", None, plan.predicted.goodput_rps * 0.9, 0.0)])
    assert told.notes == plan.notes
    assert [one.name for one in told.alternatives] == [*(one.name for one in plan.alternatives), "vllm"]


def test_an_alternative_that_serves_nothing_is_said_to():
    plan = replace(split_plan(), alternatives=(Alternative("splitwise", 0.0, 0.0), Alternative("vllm", 2.5, 3.0)))
    *_, expectation = plan_tables(plan)
    said = [str(cell) for cell in expectation.columns[1].cells]
    assert "splitwise: serves nothing here" in said
    assert "vllm: 2.50 requests/s for $3.00/h" in said


def test_the_table_has_the_plan_first_and_its_goodput_by_each():
    plan = split_plan()
    predicted = replace(plan.predicted, goodput_rps=3.0)
    own = replace(plan, predicted=predicted)
    found = [Compared("vllm", None, 2.0, 0.0), Compared("distserve", None, 0.0, 0.0)]
    cells = [list(column.cells) for column in compare_table(own, found).columns]
    assert [str(cell) for cell in cells[0]] == ["this plan", "vllm", "distserve"]
    assert [str(cell) for cell in cells[-1]] == ["1.00", "1.50", "serves nothing"]
