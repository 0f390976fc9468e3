"""`thunderctl plan` as people and scripts meet it: bad input, choices, sweeps and explanations."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from planner.choosing.progress import Progress
from thunderctl.cli.budgets import budgets_of
from thunderctl.cli.main import main
from thunderctl.cli.plan import next_steps
from thunderctl.cli.planning_progress import planning_line, progress_text
from thunderctl.spec.inputs import read_plan

HEADER = "provider,gpu,gpu_count,usd_per_hour"
FILES = {
    "one.csv": f"{HEADER},offer_id\nvast,A6000,1,0.4,card\n",
    "two.csv": f"{HEADER},offer_id,available\nvast,A6000,1,0.4,card,2\nvast,L40S,1,0.9,other,1\n",
    "lan.csv": f"{HEADER},offer_id,network\nvast,A5000,1,0.2,a,lan\nvast,A5000,1,0.2,b,lan\n",
    "ada.csv": f"{HEADER}\nvast,RTX4090,1,0.4\n",
    "none.csv": f"{HEADER}\n",
    "empty.csv": "",
    "small.csv": f"{HEADER}\nvast,A4000,1,0.1\n",
    "old.csv": f"{HEADER}\nvast,T4,4,0.1\nvast,V100,4,0.2\n",
    "disk.csv": f"{HEADER},disk_gb\nvast,A6000,1,0.4,10\n",
    "driver.csv": f"{HEADER},driver_version,ram_gb\nvast,A6000,1,0.4,535.129.03,64\n",
    "nan.csv": f"{HEADER}\nvast,A6000,1,nan\n",
    "negative.csv": f"{HEADER}\nvast,A6000,1,-1\n",
    "request.csv": "arrival_s,prompt_tokens,output_tokens\n0,1000,100\n",
    "long.csv": "arrival_s,prompt_tokens,output_tokens\n0,100000,100\n1,90000,3\n",
    "no_requests.csv": "arrival_s,prompt_tokens,output_tokens\n",
}
SMALL = ("--model", "qwen3-8b", "--offers", "one.csv")


@pytest.fixture
def said(monkeypatch, tmp_path, capsys):
    """Run a command among FILES; its exit code, stdout and stderr."""
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        shown = capsys.readouterr()
        return ended.value.code, shown.out, shown.err

    return run


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--offers", "none.csv"], 3, "There are no offers"),
        (["--offers", "none.csv"], 3, "Add rows to the file of offers"),
        (["--offers", "empty.csv"], 2, "no column provider"),
        (["--offers", "small.csv"], 3, "largest instance on offer is 1 x A4000"),
        (["--offers", "small.csv", "--fixed"], 3, "largest instance on offer is 1 x A4000"),
        (["--offers", "old.csv"], 3, "row-1: T4 has no bfloat16"),
        (["--offers", "old.csv", "--fixed"], 3, "V100-SXM2-16GB has compute capability 7.0"),
        (["--offers", "disk.csv", "--model", "qwen3-8b"], 3, "1 too little disk. row-1: 10 GB of disk"),
        (["--offers", "driver.csv", "--model", "qwen3-8b"], 3, "1 too old a driver. row-1: driver 535.129"),
        (["--offers", "nan.csv"], 2, "nan.csv, line 2: usd_per_hour is 'nan'"),
        (["--offers", "negative.csv"], 2, "negative.csv, line 2: usd_per_hour is '-1'"),
        (["--offers", "one.csv"], 3, "largest instance on offer is 1 x A6000"),
        ([*SMALL, "--workload", "long.csv"], 2, "100% of the requests of long.csv are longer than 8192 tokens"),
        ([*SMALL, "--workload", "no_requests.csv"], 2, "has no requests"),
        ([*SMALL, "--budget", "0"], 3, "The budget is 0.00 $/h; the cheapest plan"),
        ([*SMALL, "--budget", "nan"], 2, "--budget is nan"),
        ([*SMALL, "--budget", "1e300"], 2, "--budget is 1e300"),
        ([*SMALL, "--budget", "40..5"], 2, "--budget is 40..5"),
        ([*SMALL, "--budget", "5..40:0"], 2, "--budget is 5..40:0"),
        ([*SMALL, "--budget", "0..0.1"], 3, "The budget is 0.10 $/h"),
        ([*SMALL, "--budget", "5..6", "--out", "plan.json"], 2, "--explain and --compare are of one plan"),
        ([*SMALL, "--budget", "5", "--plot", "out.png"], 2, "--plot draws a sweep"),
        ([*SMALL, "--budget", "5..6", "--plot", "out.svg"], 2, "not a PNG"),
        ([*SMALL, "--dtypes", "bfloat16,fp9"], 2, "--dtypes is fp9"),
        ([*SMALL, "--dtypes", "mxfp4"], 2, "no experts"),
        ([*SMALL, "--slo-tpot", "1e-9"], 3, "Relax the SLO"),
        ([*SMALL, "--rate", "0"], 2, "--rate is 0"),
        ([*SMALL, "--goal", "cost", "--rate", "1e9"], 3, "All offers together serve"),
    ],
)
def test_bad_input_is_one_clear_error_and_never_a_traceback(said, arguments, code, words):
    ended, shown, narrated = said("plan", *arguments)
    assert (ended, shown) == (code, "")
    assert words in narrated
    assert "This is a bug" not in narrated
    assert sum(line.startswith("error: ") for line in narrated.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (SMALL, "mixed"),
        ((*SMALL, "--budget", "1e9"), "1 x A6000"),
        ((*SMALL, "--workload", "request.csv"), "1,000 prompt + 100 output tokens"),
        ((*SMALL, "--rate", "1e6"), "more than the"),
        ((*SMALL, "--fixed"), "1 x A6000"),
        (("--model", "qwen3-8b", "--offers", "disk.csv", "--fixed"), "The engine may not run on all that is given"),
    ],
)
def test_odd_input_gets_a_sensible_plan(said, arguments, words):
    ended, shown, _ = said("plan", *arguments)
    assert ended == 0
    assert words in shown


def test_it_narrates_what_it_has_to_choose_from_on_stderr_alone(said):
    ended, shown, narrated = said("plan", "--model", "qwen3-8b", "--offers", "two.csv", "--json")
    assert ended == 0
    assert json.loads(shown)["schema"] == "thunder.plan/v1"
    assert "2 offers, 2 of use" in narrated
    assert "requests/s, at most" in narrated


def test_explain_says_why_what_binds_and_how_it_degrades(said):
    ended, shown, _ = said("plan", "--model", "qwen3-8b", "--offers", "two.csv", "--budget", "0.8", "--explain")
    assert ended == 0
    for words in (
        "Why these offers",
        "Shares stay as they are",
        "What binds: budget",
        "+1 $/h",
        "A6000 is 20% slower",
        "weights over the network",
    ):
        assert words in shown


def test_explain_says_what_it_does_not_know_of_replicas_that_span_instances(said):
    asked = ("plan", "--model", "qwen3-14b", "--offers", "lan.csv", "--budget", "1", "--slo-ttft", "9", "--explain")
    ended, shown, _ = said(*asked)
    assert ended == 0
    assert "Replicas span instances: what more budget" in shown
    assert "bandwidth between instances halves" in shown
    assert "+1 $/h" not in shown


def test_an_explanation_is_a_key_of_the_plans_json_and_the_file_is_still_a_plan(said, tmp_path):
    arguments = ("plan", "--model", "qwen3-8b", "--offers", "two.csv", "--budget", "0.8", "--explain", "--json")
    ended, shown, _ = said(*arguments, "--out", "plan.json")
    assert ended == 0
    document = json.loads(shown)
    assert document == json.loads((tmp_path / "plan.json").read_text())
    assert [reason["offer_id"] for reason in document["explanation"]["reasons"]] == ["card"]
    assert said("simulate", "plan.json", "--duration", "5", "--json")[0] == 0


def test_a_sweep_is_a_table_a_picture_and_a_document(said, tmp_path):
    arguments = ("plan", "--model", "qwen3-8b", "--offers", "two.csv", "--budget", "0.2..1.2:0.5")
    ended, shown, narrated = said(*arguments, "--plot", "out.png")
    assert ended == 0
    assert "no plan" in shown
    assert "2 x A6000" in shown
    assert "budget 0.7 $/h" in narrated
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    points = json.loads(said(*arguments, "--json")[1])["points"]
    assert [point["budget_usd_per_hour"] for point in points] == [0.2, 0.7, 1.2]
    goodput = [point["goodput_rps"] for point in points]
    assert goodput == sorted(goodput)
    assert "reason" in points[0]


def test_the_best_of_the_allowed_dtypes_is_planned(said, tmp_path):
    arguments = ("plan", "--offers", "ada.csv", "--model", "qwen3-14b", "--json")
    assert said(*arguments)[0] == 3
    made = json.loads(said(*arguments, "--dtypes", "bfloat16,fp8,awq")[1])
    assert made["dtype"] == made["model"]["dtype"]
    assert made["dtype"] in ("fp8", "awq")
    assert any(other["name"] in ("fp8 weights", "awq weights") for other in made["alternatives"])
    assert any(note.startswith("With bfloat16 weights there is no plan") for note in made["notes"])
    (tmp_path / "thunder.toml").write_text('[model]\ndtypes = ["bfloat16", "awq"]\n')
    assert json.loads(said(*arguments)[1])["dtype"] == "awq"


@pytest.mark.parametrize(
    ("text", "budgets"),
    [
        ("14", (14.0,)),
        ("0", (0.0,)),
        ("5..40", (5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0)),
        ("5..40:10", (5.0, 15.0, 25.0, 35.0)),
        ("0.1..0.3:0.1", (0.1, 0.2, 0.3)),
    ],
)
def test_budgets_are_one_or_a_range(text, budgets):
    assert budgets_of(text) == budgets


def test_progress_off_a_terminal_is_a_plain_line_now_and_then(capsys):
    with planning_line() as (say, report):
        say("2 offers")
        for best in (1.0, 2.0, 3.0):
            report(Progress(best, 4.0, 1 - best / 4, 0.1, "tabu search"))
    assert capsys.readouterr().err.splitlines() == [
        "2 offers",
        "1.00 requests/s, at most 4.00: gap 75.0%, tabu search, 0.1 s",
    ]


def test_progress_without_a_bound_shows_none():
    assert progress_text(Progress(1.0, float("inf"), 1.0, 2.0, "start")) == "1.00 requests/s, start"


def test_the_next_step_is_up_or_where_nobody_rents_the_offers_out_what_works(said):
    _, _, narrated = said("plan", *SMALL, "--out", "plan.json")
    assert "Wrote plan.json. Next: thunderctl up plan.json" in narrated
    made = read_plan(Path("plan.json"))
    dated = replace(made, instances=tuple(replace(one, leasable=False) for one in made.instances))
    first, second = next_steps(dated, Path("p.json"))
    assert first == "Wrote p.json. Next: thunderctl simulate p.json"
    assert "its offers of vast are not live ones" in second
    assert second.endswith("thunderctl plan --provider vast --out p.json")


def test_a_file_that_could_not_be_written_is_said_before_the_search(said):
    for path, words in (("missing/plan.json", "there is no folder missing"), (".", "it is a folder")):
        code, _, narrated = said("plan", *SMALL, "--out", path)
        assert code == 2
        assert words in narrated
        assert "of use" not in narrated
