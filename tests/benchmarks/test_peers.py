"""What the page of peers is made of: rows, fleets, verdicts, and how a side is asked; no peer is installed here."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.peers.cases import CASES, GPUS, H100, Case, Group, fleet_of, in_words
from benchmarks.peers.judged import goodput_rps
from benchmarks.peers.page import sections_of, written
from benchmarks.peers.planning import OURS, Found, refusals, table, verdict
from benchmarks.peers.predicting import figure, ours_ms, source_of
from benchmarks.peers.predicting import table as predicted_table
from benchmarks.peers.rows import grouped, of_passes, of_silicon
from planner.deployment import Phase
from planner.parallel.layouts import Capacities
from planner.workload import Slo

SIDES = Path(__file__).parents[2] / "benchmarks" / "peers" / "sides"
ENGINE = {
    "model_path": "Qwen/Qwen3-32B",
    "system": "h100_sxm",
    "backend": "vllm",
    "backend_version": "0.12.0",
    "mode": "agg",
    "precision": "",
    "gemm_quant_mode": "",
    "isl": "1024",
    "osl": "128",
    "batch_size": "8.0",
    "tp_size": "2.0",
    "pp_size": "1.0",
    "attention_dp_size": "",
    "silicon_ttft_ms": "154.2",
    "silicon_tpot_ms": "18.0",
}
TWO_BY_TWO = (Group(Phase.PREFILL, 2, 2, 1), Group(Phase.DECODE, 2, 2, 1))


def test_an_engine_gives_a_row_of_ttft_and_one_of_tpot():
    ttft, tpot = of_silicon([ENGINE])
    assert (ttft.phase, ttft.measured_ms, tpot.phase, tpot.measured_ms) == ("prefill", 154.2, "decode", 18.0)
    assert (tpot.tp, tpot.batch, tpot.context, tpot.output) == (2, 8, 1024 + 64, 128)
    assert "measured_ms" not in tpot.question


@pytest.mark.parametrize(
    "otherwise",
    [
        {"precision": "fp8"},
        {"gemm_quant_mode": "fp8_block"},
        {"mode": "disagg"},
        {"pp_size": "2.0"},
        {"system": "b200_sxm"},
        {"model_path": "deepseek-ai/DeepSeek-R1"},
        {"silicon_ttft_ms": ""},
    ],
)
def test_engines_that_not_all_can_predict_are_left_out(otherwise):
    assert of_silicon([ENGINE | otherwise]) == []


def test_what_ours_has_seen_is_told_from_what_it_has_not():
    unseen = of_silicon([ENGINE])[1]
    seen = of_silicon([ENGINE | {"model_path": "meta-llama/Llama-3.1-8B-Instruct"}])[1]
    assert (source_of(unseen), source_of(seen)) == ("", "aiconfigurator")
    assert 0.5 < ours_ms(unseen, None) / unseen.measured_ms < 2


def test_ours_has_no_formula_for_ttft_under_load():
    assert ours_ms(of_silicon([ENGINE])[0], None) is None


def test_flagged_passes_are_left_out():
    line = dict.fromkeys(("tp", "batch", "prompt_tokens", "context_tokens"), "1")
    line |= {"model": "llama-2-70b", "gpu": "A100-SXM4-80GB", "engine": "vllm-2023", "kind": "step", "value_ms": "9"}
    lines = [line | {"phase": "decode", "note": note} for note in ("scope=model", "scope=model; flag=rounding")]
    (row,) = of_passes(lines)
    assert source_of(row) == "splitwise-sim"
    assert list(grouped([row])) == [(row.set, "decode")]


def test_a_reason_is_no_figure():
    ttft, tpot = of_silicon([ENGINE])
    assert figure("no memory", tpot) is None
    assert (figure({"ttft_ms": 3.0}, ttft), figure({"ttft_ms": 3.0}, tpot)) == (3.0, None)


def test_errors_are_of_the_rows_that_were_answered():
    faster = ENGINE | {"batch_size": "4.0", "silicon_ttft_ms": "77.1", "silicon_tpot_ms": "9.0"}
    rows = of_silicon([ENGINE, faster])
    found = {"ours": [None, 18.0, None, 9.0], "held out": [None] * 4, "peer": [154.2, None, 77.1, 18.0]}
    *_, ttft, tpot = predicted_table(rows, found)
    assert ttft.endswith("| TTFT | 2 | – | – | 0.0 (nan) |")
    assert tpot.endswith("| TPOT | 2 | 0.0 (nan) | – | 100.0 (nan, 1 rows) |")


def test_a_fleet_is_read_from_an_answer_and_said_in_words():
    fleet = fleet_of([one.as_asked for one in TWO_BY_TWO])
    assert fleet == TWO_BY_TWO
    assert (in_words(fleet), in_words(())) == ("2 P 2x1 + 2 D 2x1", "none")


def test_peers_are_asked_for_mean_lengths_in_milliseconds():
    asked = Case("qwen3-32b", H100, "1155/211", Slo(2.0, 0.15)).question
    assert (asked["prompt"], asked["output"], asked["ttft_ms"], asked["tpot_ms"]) == (1155, 211, 2000, 150)
    assert len({str(case) for case in CASES}) == len(CASES)


def test_a_fleet_that_has_no_place_serves_nothing():
    case = Case("qwen3-32b", H100, "64/2", Slo())
    capacities = Capacities(case.task)
    assert goodput_rps(case, (Group(Phase.MIXED, GPUS + 1, 1, 1),), capacities) == 0
    assert goodput_rps(case, (Group(Phase.PREFILL, 1, 8, 1),), capacities) == 0  # nobody decodes


def results():
    """Ours is best by our scorer, the peer by its own; the other planner found nothing."""
    case = CASES[0]
    ours = Found(OURS, TWO_BY_TWO, "", 8.0, {OURS: 40.0, "AIConfigurator": 50.0, "vllm-sr-sim": "it has no pipelines"})
    peer = Found("AIConfigurator", TWO_BY_TWO[:1], "", 2.0, {OURS: 30.0, "AIConfigurator": 60.0, "vllm-sr-sim": 9.0})
    return [(case, [ours, peer, Found("vllm-sr-sim", (), "no split fleet meets both targets", 0.1)])]


def test_the_best_of_each_scorer_is_bold():
    ours, peer, other = list(table(results()))[2:]
    assert ours.endswith("| 8.00 | **40.00** | 50.00 | – |")
    assert peer.endswith("| 2.00 | 30.00 | **60.00** | **9.00** |")
    assert "none (no split fleet meets both targets)" in other


def test_who_is_first_by_whom_is_counted():
    by_ours, by_peer = (verdict(results(), name) for name in (OURS, "AIConfigurator"))
    assert by_ours.endswith("of 1 cases: thunderctl 1, AIConfigurator 0, vllm-sr-sim 0")
    assert by_peer.endswith("of 1 cases: thunderctl 0, AIConfigurator 1, vllm-sr-sim 0")
    assert list(refusals(results())) == ["* vllm-sr-sim of 2 P 2x1 + 2 D 2x1: it has no pipelines"]


SIDE = """
import sys
sys.path.insert(0, sys.argv[1])
from answering import serve
def plan(asked):
    print("a peer's own words")
    return asked["gpus"] + 1
def refuse(asked):
    raise ValueError("no")
serve({"plan": plan, "refuse": refuse})
"""


def test_a_side_answers_in_order_and_keeps_a_peers_words_apart():
    asked = [{"kind": "plan", "gpus": 8}, {"kind": "refuse"}, {"kind": "plan", "gpus": 1}]
    lines = "".join(json.dumps(one) + "\n" for one in asked)
    told = subprocess.run([sys.executable, "-c", SIDE, SIDES], input=lines, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in told.stdout.splitlines()]
    assert [one.get("answer") for one in answers] == [9, None, 2]
    assert answers[1]["refused"] == "ValueError: no"
    assert all(one["wall_s"] >= 0 and one["cpu_s"] >= 0 for one in answers)
    assert told.stderr.count("a peer's own words") == 2


def test_a_page_says_what_fits_the_width():
    from benchmarks.peers import text

    for lines in (
        text.CASES_TEXT,
        text.PLANNED_TEXT,
        text.PREDICTING_TEXT,
        text.PREDICTED_TEXT,
        text.SPEED_TEXT,
        text.LEFT_OUT,
    ):
        assert all(len(line) <= 120 for line in lines)
        assert not any(a == b == "" for a, b in pairwise(lines))


def test_one_section_is_measured_again_and_the_others_stay():
    titles, header, end = ("Plans", "Speed"), ["# Page", "", "Made by hand."], ["## Left out", "", "* nobody"]
    first = written(header, titles, {"Speed": ["| 1 |"]}, end)
    again = written(header, titles, sections_of(first) | {"Plans": ["(today)", "", "| 2 |"]}, end)
    assert again.splitlines()[2:] == [
        *("Made by hand.", "", "## Plans", "", "(today)", "", "| 2 |", "", "## Speed", "", "| 1 |", ""),
        *("## Left out", "", "* nobody"),
    ]
    assert written(header, titles, sections_of(again), end) == again
