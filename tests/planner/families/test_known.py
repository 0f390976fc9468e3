"""Each family's config.json, as its models have it, to the sizes that are published of them."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import SpecError
from planner.families.known import FAMILIES
from planner.models import llm_from_config, models

CASES = {path.stem: json.loads(path.read_text()) for path in Path(__file__).parents[2].glob("cases/models/*.json")}


def case(name: str, **changes):
    """The config of a case with keys changed; None takes one away."""
    config = CASES[name]["config"] | changes
    return {key: value for key, value in config.items() if value is not None}


def read(name: str, **changes):
    return llm_from_config(case(name, **changes), name)


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_config_gives_the_published_sizes(name):
    llm, published = read(name), CASES[name]["published"]
    assert llm.parameters / 1e9 == pytest.approx(published["billions"], rel=0.004)
    assert llm.kv_bytes_per_token == published["kv_bytes_per_token"]
    if "active_billions" in published:
        assert llm.active_parameters / 1e9 == pytest.approx(published["active_billions"], rel=0.02)


@pytest.mark.parametrize("name", sorted(CASES))
def test_an_embedded_model_is_what_its_config_says(name):
    embedded = models()[CASES[name]["model"]]
    assert replace(read(name), name=embedded.name, repository=embedded.repository) == embedded


def test_there_is_a_case_for_every_family():
    seen = {word for one in CASES.values() for word in one["config"]["architectures"]}
    assert set(FAMILIES) - seen == {"LLaMAForCausalLM", "Gemma3ForCausalLM"}  # spelled otherwise; nested


def test_the_language_model_of_a_multimodal_gemma_reads_alike_alone():
    nested = case("gemma-3-27b")
    alone = {**nested["text_config"], "architectures": ["Gemma3ForCausalLM"], "torch_dtype": "bfloat16"}
    assert llm_from_config(alone, "gemma-3-27b") == read("gemma-3-27b")


def test_layer_types_say_which_layers_have_windows():
    kinds = ["full_attention"] * 10 + ["sliding_attention"] * 32
    assert read("gemma-2-9b", layer_types=kinds).full_layers == 10
    assert read("gemma-2-9b", layer_types=["full_attention"] * 42).window == 0


def test_windows_of_qwen_are_off_unless_its_config_turns_them_on():
    assert read("qwen2.5-32b", sliding_window=4096).window == 0
    on = read("qwen2.5-32b", sliding_window=4096, use_sliding_window=True, max_window_layers=20)
    assert (on.window, on.full_layers, on.windowed_layers) == (4096, 20, 44)
    assert read("qwen2.5-32b", sliding_window=4096, use_sliding_window=True, max_window_layers=64).window == 0


def test_an_early_llama_names_its_positions_otherwise():
    assert read("llama-1-30b", max_position_embeddings=None, max_sequence_length=2048).max_positions == 2048


def test_head_sizes_that_a_config_leaves_out_follow_from_the_others():
    llm = read("llama-3.1-8b", num_key_value_heads=None)
    assert (llm.kv_heads, llm.head_dim) == (32, 128)


def test_biases_are_counted():
    plain, biased = read("llama-3.1-8b"), read("llama-3.1-8b", attention_bias=True, mlp_bias=True)
    heads, width = 4096 + 2 * 1024 + 4096, 2 * 14336 + 4096
    assert biased.parameters - plain.parameters == 32 * (heads + width)
    qwen = read("qwen3-8b", attention_bias=True)
    assert qwen.parameters - read("qwen3-8b").parameters == 36 * (4096 + 2 * 1024 + 4096)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architectures": ["BloomForCausalLM"]},
            r"architecture BloomForCausalLM; expected one of LlamaForCausalLM, .*",
        ),
        ({"architectures": None}, "architecture none; expected"),
        ({"architectures": "LlamaForCausalLM"}, "architectures 'LlamaForCausalLM'; expected a list of words"),
        (
            {"architectures": ["DeepseekV3ForCausalLM"], "kv_lora_rank": 512},
            r"DeepseekV3ForCausalLM, which means multi-head latent attention \(it has kv_lora_rank\)",
        ),
        ({"architectures": ["MambaForCausalLM"], "state_size": 16}, "means a state-space model"),
        ({"architectures": ["LlavaForConditionalGeneration"], "vision_config": {"a": 1}}, "input other than text"),
        ({"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True}, "means an encoder"),
    ],
)
def test_an_unknown_architecture_is_refused_by_what_is_not_understood(changes, message):
    with pytest.raises(SpecError, match=message):
        read("llama-3.1-8b", **changes)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        *(("llama-3.1-8b", key) for key in ("num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size")),
        ("llama-3.1-8b", "max_position_embeddings"),
        ("qwen3-8b", "head_dim"),
        ("gemma-7b", "num_key_value_heads"),
        ("opt-66b", "ffn_dim"),
        ("mixtral-8x7b", "num_local_experts"),
        ("mixtral-8x7b", "num_experts_per_tok"),
        ("qwen3-30b-a3b", "moe_intermediate_size"),
        ("qwen1.5-moe-a2.7b", "shared_expert_intermediate_size"),
    ],
)
def test_a_missing_key_is_named(name, key):
    with pytest.raises(SpecError, match=f"The config of {name} has no {key}; expected"):
        read(name, **{key: None})


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("llama-3.1-8b", {"hidden_size": "big"}, "hidden_size 'big'; expected a whole number from 1"),
        ("llama-3.1-8b", {"hidden_size": 10**400}, "expected a whole number from 1 to 1e"),
        ("llama-3.1-8b", {"num_hidden_layers": True}, "num_hidden_layers True; expected a whole number"),
        ("llama-3.1-8b", {"num_hidden_layers": 0}, "num_hidden_layers 0; expected a whole number"),
        ("llama-3.1-8b", {"tie_word_embeddings": "no"}, "tie_word_embeddings 'no'; expected true or false"),
        ("llama-3.1-8b", {"num_key_value_heads": 7}, "32 heads on 7 KV heads; expected a multiple"),
        ("llama-3.1-8b", {"hidden_size": 4095}, "hidden_size 4095, 32 heads and no head_dim; expected a multiple"),
        ("gemma-3-27b", {"text_config": [1]}, r"text_config \[1\]; expected an object"),
        (
            "gemma-2-9b",
            {"layer_types": ["full_attention"] * 3},
            "3 layer_types and num_hidden_layers 42; expected as many",
        ),
        (
            "gemma-2-9b",
            {"layer_types": ["linear_attention"] * 42},
            "layer_types linear_attention; expected full_attention",
        ),
        ("gpt-oss-20b", {"sliding_window": None}, "layer_types with sliding_attention and no sliding_window"),
        (
            "opt-66b",
            {"word_embed_proj_dim": 512},
            "word_embed_proj_dim 512 and hidden_size 9216; expected them to be equal",
        ),
        ("opt-66b", {"enable_bias": False}, "enable_bias false; expected true"),
        ("phi-2", {"qk_layernorm": True}, "qk_layernorm true; expected false"),
        ("mixtral-8x7b", {"num_experts_per_tok": 9}, "9 active experts of 8; expected"),
        ("qwen3-30b-a3b", {"mlp_only_layers": [0]}, r"mlp_only_layers \[0\]; expected 1 and none"),
        ("qwen3-30b-a3b", {"decoder_sparse_step": 2}, "decoder_sparse_step 2"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused(name, changes, message):
    with pytest.raises(SpecError, match=message):
        read(name, **changes)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@given(st.data())
def test_whatever_a_key_holds_the_answer_is_a_model_or_a_spec_error(data):
    name = data.draw(st.sampled_from(sorted(CASES)))
    keys = [*CASES[name]["config"], "quantization_config", "layer_types", "sliding_window", "use_sliding_window"]
    changes = {data.draw(st.sampled_from(keys)): data.draw(JSON)}
    with suppress(SpecError):
        llm = read(name, **changes)
        assert llm.parameters > 0
        assert llm.weight_bytes > 0
