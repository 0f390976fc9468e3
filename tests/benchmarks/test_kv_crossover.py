"""Crossovers: the rate at which sending takes as long as computing, from measured times and from the model."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.kv_crossover_cells import Cell
from benchmarks.kv_crossover_model import Model, crossing
from benchmarks.kv_crossover_scale import PLACES
from planner.catalog import GpuCalibration
from planner.costmodel.calibrate import Handover
from planner.costmodel.pace import pipeline_pace
from planner.deployment import Codec
from planner.gpus import gpu_named
from planner.models import llm_named

LLM = replace(llm_named("llama-3.2-1b"), layers=8, hidden=256, intermediate=512, heads=4, kv_heads=2, head_dim=64)
MACHINE = GpuCalibration("CPU", 0.5, 7.0, 1.2, step_s=3e-3, sequence_s=2e-4, prompt_s=6e-3)
OWN = pipeline_pace(LLM, MACHINE.applied(gpu_named("CPU")), 1, (LLM.layers,), nvlink=False)
MODEL = Model(LLM, OWN, Handover(20.0, 1.0, 0.5))
RATES = np.array([10.0, 20.0, 50.0, 100.0, 200.0])


@given(fixed_s=st.floats(0.01, 0.3), megabits=st.floats(1.0, 100.0), local_s=st.floats(0.31, 3.0))
def test_the_rate_of_the_crossing_is_found_within_and_beyond_those_measured(fixed_s, megabits, local_s):
    found = crossing(RATES, fixed_s + megabits / RATES, local_s)
    assert fixed_s + megabits / found == pytest.approx(local_s, rel=1e-6)


def test_no_line_is_fast_enough_where_the_rest_of_a_hop_takes_longer_than_computing():
    assert crossing(RATES, 0.5 + 10 / RATES, 0.4) == float("inf")


@pytest.mark.parametrize("codec", [Codec.RAW, Codec.INT8, Codec.INT4])
def test_at_its_crossover_the_model_predicts_a_decode_leg_as_long_as_computing(codec):
    rate = MODEL.crossover_mbit_per_s(1536, codec)
    local = MODEL.predicted(Cell(1536, Codec.LOCAL))
    assert MODEL.predicted(Cell(1536, codec, rate)).decode_s == pytest.approx(local.decode_s, rel=1e-3)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place.model}, {place.tp} x {place.gpu}")
def test_one_request_wants_a_faster_line_than_a_busy_replica_fills(place):
    for codec in (Codec.RAW, Codec.INT8, Codec.INT4):
        assert place.crossover_gbit_per_s(codec) > place.wanted_gbit_per_s(codec)
