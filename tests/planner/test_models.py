import csv
import json
from pathlib import Path

import pytest

from planner.errors import SpecError
from planner.models import llm_from_config, llm_named, models

ROOT = Path(__file__).parents[2]
TINY = ROOT / "examples" / "tiny-llama" / "config.json"
MEASURED = ROOT.parent / "shared" / "data" / "measured" / "models.csv"

PARAMETERS = {
    "llama-7b": 6_738_415_616,
    "llama-30b": 32_528_943_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.1-405b": 405_853_388_800,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "mistral-7b": 7_248_023_552,
    "mistral-7b-v0.1": 7_241_732_096,
    "mistral-small-24b": 23_572_403_200,
    "mixtral-8x7b": 46_702_792_704,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-32b": 32_763_876_352,
    "qwen2.5-72b": 72_706_203_648,
    "qwen1.5-moe-a2.7b": 14_315_784_192,
    "qwen3-8b": 8_190_735_360,
    "qwen3-14b": 14_768_307_200,
    "qwen3-32b": 32_762_123_264,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-235b-a22b": 235_093_634_560,
    "gemma-7b": 8_537_680_896,
    "gemma-2-9b": 9_241_705_984,
    "gemma-2-27b": 27_227_128_320,
    "phi-2": 2_779_683_840,
    "phi-3-mini-4k": 3_821_079_552,
    "phi-4": 14_659_507_200,
    "opt-13b": 12_853_473_280,
    "gpt-oss-20b": 20_914_757_184,
    "gpt-oss-120b": 116_829_156_672,
}
"""Of the checkpoints, as the model hub counts them."""


@pytest.mark.parametrize("name", PARAMETERS)
def test_embedded_models_have_the_parameters_of_their_checkpoints(name):
    assert llm_named(name).parameters == pytest.approx(PARAMETERS[name], rel=2e-5)


@pytest.mark.parametrize(
    ("name", "billions"),
    [("mixtral-8x7b", 12.9), ("mixtral-8x22b", 39.1), ("qwen3-30b-a3b", 3.35), ("qwen3-235b-a22b", 22.2)],
)
def test_embedded_models_have_the_published_active_parameters(name, billions):
    assert llm_named(name).active_parameters / 1e9 == pytest.approx(billions, rel=0.005)


@pytest.mark.parametrize(("name", "billions"), [("gpt-oss-20b", 3.61), ("gpt-oss-120b", 5.13)])
def test_gpt_oss_counts_as_active_all_but_its_input_embedding(name, billions):
    llm = llm_named(name)
    assert (llm.active_parameters - llm.vocabulary * llm.hidden) / 1e9 == pytest.approx(billions, rel=0.002)


@pytest.mark.parametrize(
    ("name", "dtype", "gib"),
    [
        ("gpt-oss-20b", "", 12.8),  # sizes of the checkpoints in OpenAI's model card
        ("gpt-oss-120b", "", 60.8),
        ("llama-3.1-8b", "", 14.96),
        ("llama-3.1-8b", "awq", 5.33),  # 5.73 GB
    ],
)
def test_weights_take_what_the_checkpoint_takes(name, dtype, gib):
    assert llm_named(name, dtype).weight_bytes / 2**30 == pytest.approx(gib, rel=0.005)


@pytest.mark.parametrize(
    ("name", "kv_bytes"),
    [
        ("llama-30b", 1_597_440),
        ("llama-2-13b", 819_200),
        ("llama-2-70b", 327_680),
        ("llama-3.1-8b", 131_072),
        ("llama-3.1-70b", 327_680),
        ("qwen3-8b", 147_456),
        ("qwen3-32b", 262_144),
        ("qwen3-30b-a3b", 98_304),
        ("mixtral-8x7b", 131_072),
        ("opt-66b", 2_359_296),
    ],
)
def test_a_token_of_an_embedded_model_takes_the_published_kv(name, kv_bytes):
    assert llm_named(name).kv_bytes_per_token == kv_bytes


def test_every_embedded_model_can_be_found_and_downloaded():
    assert len(models()) >= 40
    assert all(llm.name == name == name.lower() and llm.repository for name, llm in models().items())
    assert llm_named("Qwen3-32B") is models()["qwen3-32b"]


@pytest.mark.skipif(not MEASURED.exists(), reason="shared data not beside the project")
def test_embedded_models_have_the_shapes_of_the_measured_ones():
    rows = list(csv.DictReader(MEASURED.read_text().splitlines()))
    assert len(rows) > 5
    for row in rows:
        llm = llm_named(row["model"])
        matrices = llm.attention_parameters + llm.mlp_parameters
        assert matrices == pytest.approx(int(row["params_per_layer"]), rel=2e-4)  # which leaves out biases
        assert llm.kv_bytes_per_token == int(row["kv_bytes_per_token"])
        assert (llm.layers, llm.hidden, llm.intermediate) == tuple(
            int(row[k]) for k in ("layers", "hidden", "intermediate")
        )
        assert (llm.heads, llm.kv_heads, llm.head_dim) == tuple(int(row[k]) for k in ("heads", "kv_heads", "head_dim"))
        assert (llm.gated, llm.tied_embeddings) == (row["mlp"] == "gated", row["tied_embeddings"] == "1")
        assert llm.vocabulary == int(row["vocab"])


@pytest.mark.skipif(not TINY.exists(), reason="the model is not in this checkout")
def test_the_shipped_model_is_embedded_as_its_config_has_it():
    shipped, embedded = llm_from_config(json.loads(TINY.read_text()), "tiny-llama"), llm_named("tiny-llama")
    assert (shipped.parameters, shipped.dtype, shipped.max_positions) == (
        embedded.parameters,
        embedded.dtype,
        embedded.max_positions,
    )


def test_an_unknown_model_is_an_error_with_near_matches_and_the_way_out():
    with pytest.raises(SpecError, match=r"'qwen3-23b' is not known; expected one such as .*qwen3-32b") as error:
        llm_named("qwen3-23b")
    assert "config.json" in error.value.hint


def test_a_stated_dtype_overrides_the_models_own():
    assert llm_named("qwen3-32b", "fp8").weight_bytes < llm_named("qwen3-32b").weight_bytes * 0.55


@pytest.mark.parametrize(
    ("dtype", "message"),
    [("int3", "dtype 'int3'; expected one of float32"), ("mxfp4", "mxfp4 and no experts; expected experts")],
)
def test_a_dtype_that_the_model_cannot_have_is_an_error(dtype, message):
    with pytest.raises(SpecError, match=message):
        llm_named("qwen3-32b", dtype)
