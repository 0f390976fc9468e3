"""What measures the KV codecs' quality tells schemes apart, and says what is wrong with what it is given."""

import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from benchmarks.kv_codec_attention import QUERIES, attention_kl
from benchmarks.kv_codec_model import measure
from benchmarks.kv_codec_schemes import RAW, SCHEMES, hadamard, rotated
from benchmarks.kv_codec_subject import Subject, gates, measured_table, perplexity
from benchmarks.kv_codec_synthetic import GEOMETRY, turned
from planner.errors import SpecError
from tests.examples.training import TINY_LLAMA, train_module

pytestmark = pytest.mark.engine_env

ROOT = Path(__file__).parents[2]
LOST = replace(RAW, name="lost", crossed=lambda _, kv: tuple(map(torch.zeros_like, kv)))


@cache
def text():
    train = train_module()
    return next(text for path, text in sorted(train.stdlib_sources().items()) if train.is_held_out(path))


def subject(**changed):
    return replace(Subject("tiny", TINY_LLAMA, text(), 384, 192, "bfloat16", "cpu"), **changed)


@pytest.fixture(scope="module")
def measured():
    schemes = (*SCHEMES, LOST)
    geometry, tallies = measure(subject().model(), subject().windows(), "bfloat16", schemes)
    return geometry, dict(zip([scheme.name for scheme in schemes], tallies, strict=True))


def test_every_token_but_a_windows_first_is_predicted(measured):
    geometry, tallies = measured
    assert (geometry.layers, geometry.kv_heads, geometry.head_dim, geometry.dtype) == (8, 2, 64, "bfloat16")
    assert {tally.tokens for tally in tallies.values()} == {2 * 191}
    assert {tally.attention_count for tally in tallies.values()} == {2 * 8 * 4 * QUERIES}


def test_raw_changes_nothing_and_fewer_bits_change_more(measured):
    raw, int8, default, int4, *_ = measured[1].values()
    assert (raw.divergence, raw.attention, raw.off, raw.same) == (0, 0, (0, 0), raw.tokens)
    for less, more in ((raw, int8), (int8, default), (default, int4)):
        assert less.divergence < more.divergence
        assert less.attention < more.attention
        assert less.off < more.off


def test_what_crosses_is_what_the_model_reads(measured):
    raw, lost = measured[1]["raw"], measured[1]["lost"]
    assert perplexity(lost) > 2 * perplexity(raw)
    assert lost.off == lost.size


def test_the_table_has_a_row_for_each_scheme_and_the_gates(measured):
    lines = list(measured_table(subject(tokens=192)))
    assert all(any(line.startswith(f"| {scheme.name} |") for line in lines) for scheme in SCHEMES)
    assert lines[-1].startswith("Gates of the default: ")
    assert "FAIL" in gates(measured[1]["lost"], perplexity(measured[1]["raw"]))


@pytest.mark.parametrize("size", [64, 80, 96, 128])
def test_a_hadamard_matrix_is_orthogonal_and_even(size):
    turn = hadamard(size)
    assert torch.allclose(turn @ turn.T, torch.eye(size), atol=1e-6)
    assert turn[turn != 0].abs().allclose(turn.abs().max())


def test_turning_and_turning_back_changes_little():
    keys = torch.randn(1, 8, 64, 128, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert (rotated(GEOMETRY, (keys, keys))[0] - keys).norm() < 0.2 * keys.norm()


def test_rope_keeps_lengths_and_the_first_token():
    part = torch.randn(2, 100, 128, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(turned(part).norm(dim=-1), part.norm(dim=-1), rtol=1e-5)
    assert torch.allclose(turned(part)[:, 0], part[:, 0])


def test_attention_differs_only_by_keys_that_are_seen():
    generator = torch.Generator().manual_seed(0)
    queries, keys = torch.randn(4, 3, 16, generator=generator), torch.randn(2, 10, 16, generator=generator)
    ahead, first = keys.clone(), keys.clone()
    ahead[:, -1] += 5
    first[:, 0] += 5
    assert (attention_kl(queries, 0.25, keys, ahead)[:, :-1] == 0).all()
    assert (attention_kl(queries, 0.25, keys, ahead)[:, -1] > 0).all()
    assert (attention_kl(queries, 0.25, keys, first) > 0).all()


def test_a_window_is_of_whole_groups():
    with pytest.raises(SpecError, match="expected a multiple of 64"):
        subject(window=100)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(SpecError, match=r"no config\.json"):
        subject(folder=tmp_path)


def test_a_text_that_is_too_short_is_said_to_be():
    with pytest.raises(SpecError, match="shorter than one window"):
        list(measured_table(subject(text="def f(): pass")))


def test_the_command_for_users_measures_a_model_of_theirs(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("def add(a, b):\n    return a + b\n" * 40)
    script = [ROOT / "examples" / "kv_codec.sh", "tiny-llama", text, "--tokens", "128", "--window", "64"]
    done = subprocess.run(script, cwd=ROOT / "examples", capture_output=True, text=True, check=True)
    assert "| int4, first and last 2 layers int8 (default) | 2." in done.stdout
    assert "Gates of the default" in done.stdout
