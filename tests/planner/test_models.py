import json
from pathlib import Path

import pytest

from planner.errors import SpecError
from planner.models import llm_from_config, llm_named, models

TINY = Path(__file__).parents[2] / "examples" / "tiny-llama" / "config.json"
QWEN = {
    "architectures": ["Qwen3ForCausalLM"],
    "num_hidden_layers": 64,
    "hidden_size": 5120,
    "intermediate_size": 25600,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "torch_dtype": "bfloat16",
    "sliding_window": None,
    "tie_word_embeddings": False,
}


@pytest.mark.parametrize(
    ("name", "billions", "kv_bytes_per_token"),
    [
        ("qwen3-32b", 32.8, 262_144),
        ("qwen3-8b", 8.2, 147_456),
        ("llama-30b", 32.5, 1_597_440),
        ("llama-3.1-8b", 8.0, 131_072),
        ("llama-3.1-70b", 70.6, 327_680),
        ("llama-2-13b", 13.0, 819_200),
        ("mistral-7b", 7.25, 131_072),
    ],
)
def test_embedded_models_have_their_published_sizes(name, billions, kv_bytes_per_token):
    llm = llm_named(name)
    assert llm.parameters / 1e9 == pytest.approx(billions, rel=0.01)
    assert llm.kv_bytes_per_token == kv_bytes_per_token
    assert llm.repository


def test_an_embedded_model_equals_its_config():
    assert llm_from_config(QWEN, "qwen3-32b").layer_parameters == llm_named("qwen3-32b").layer_parameters


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


def test_names_are_found_in_any_case():
    assert llm_named("Qwen3-32B") is models()["qwen3-32b"]


def test_a_stated_dtype_overrides_the_models_own():
    assert llm_named("qwen3-32b", "fp8").weight_bytes < llm_named("qwen3-32b").weight_bytes * 0.55


def test_head_sizes_that_a_config_leaves_out_follow_from_the_others():
    config = {key: value for key, value in QWEN.items() if key not in ("head_dim", "num_key_value_heads")}
    llm = llm_from_config(config, "plain")
    assert (llm.kv_heads, llm.head_dim) == (64, 80)


def test_a_quantised_checkpoint_is_read_as_one():
    assert llm_from_config(QWEN | {"quantization_config": {"quant_method": "awq"}}, "q").dtype == "awq"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"architectures": ["MixtralForCausalLM"]},
            "architecture MixtralForCausalLM; expected one of LlamaForCausalLM",
        ),
        ({"architectures": None}, "architecture none"),
        ({"hidden_size": "big"}, "hidden_size 'big'; expected a whole number above 0"),
        ({"num_hidden_layers": None}, "num_hidden_layers None"),
        ({"torch_dtype": "int3"}, "dtype 'int3'; expected one of float32"),
        ({"num_key_value_heads": 7}, "64 heads on 7 KV heads"),
        ({"sliding_window": 4096}, "sliding-window attention of 4096 tokens"),
    ],
)
def test_a_config_that_cannot_be_planned_is_an_error(change, message):
    with pytest.raises(SpecError, match=message):
        llm_from_config(QWEN | change, "wrong")
