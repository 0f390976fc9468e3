"""The presets in the package against the traces they restate: from memory everywhere, and anew where the traces are."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from planner.traces import PRESETS, trace_from_csv, workload_named

ROOT = Path(__file__).parents[2]
TRACES = ROOT.parent / "shared" / "data" / "traces"
FILES = {"coding": TRACES / "azure_code_2023.csv", "conversation": TRACES / "azure_conv_2023.csv"}
RESTATED = {
    "coding": ((2047.85, 1469, 5187.6, 7436), (27.88, 13, 55, 251.46), -0.0215),
    "conversation": ((1154.70, 1020, 2734.5, 4142), (211.13, 129, 424, 601), 0.0728),
}
"""Of each trace: mean, median, P90 and P99 of prompts and of outputs, and their Spearman correlation."""
WITHIN = (0.01, 0.02, 0.02, 0.05)

with_traces = pytest.mark.skipif(not TRACES.is_dir(), reason="shared data not beside the project")


def statistics(tokens):
    return (tokens.mean(), *np.percentile(tokens, (50, 90, 99)))


def ranks(values):
    """From 1, ties sharing the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def spearman(first, second):
    return np.corrcoef(ranks(first), ranks(second))[0, 1]


def read(preset):
    return trace_from_csv(FILES[preset].read_text(), preset)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_has_the_means_medians_and_tails_of_its_trace(preset):
    lengths = np.array(workload_named(preset).lengths)
    for tokens, expected in zip(lengths.T, RESTATED[preset], strict=False):
        for found, wanted, tolerance in zip(statistics(tokens), expected, WITHIN, strict=True):
            assert found == pytest.approx(wanted, rel=tolerance)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_keeps_how_prompts_and_outputs_go_together(preset):
    prompt, output = np.array(workload_named(preset).lengths).T
    assert spearman(prompt, output) == pytest.approx(RESTATED[preset][2], abs=0.03)


@with_traces
@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_restated_here_is_what_the_traces_say(preset):
    trace = read(preset)
    for tokens, expected in zip((trace.prompt_tokens, trace.output_tokens), RESTATED[preset], strict=False):
        assert statistics(tokens) == pytest.approx(expected, rel=1e-4)
    assert spearman(trace.prompt_tokens, trace.output_tokens) == pytest.approx(RESTATED[preset][2], abs=1e-4)


@with_traces
@pytest.mark.parametrize("preset", PRESETS)
def test_prompts_follow_outputs_as_in_the_trace_from_band_to_band(preset):
    """Mean prompt of each eighth of the requests by output: more than one number of correlation can say."""

    def eighths(prompt, output):
        return np.array([part.mean() for part in np.array_split(prompt[np.argsort(output, kind="stable")], 8)])

    trace = read(preset)
    found = eighths(*np.array(workload_named(preset).lengths).T)
    assert found == pytest.approx(eighths(trace.prompt_tokens, trace.output_tokens), rel=0.03)


@with_traces
def test_the_script_writes_the_package_s_table_byte_for_byte():
    script = runpy.run_path(str(ROOT / "benchmarks" / "workload_presets.py"))
    written = script["workloads_csv"](*(FILES[preset] for preset in PRESETS))
    assert written.encode() == (ROOT / "planner" / "data" / "workloads.csv").read_bytes()
