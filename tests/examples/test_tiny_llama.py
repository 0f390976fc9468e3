"""The shipped tiny Llama is what its README says: small, long-context, and better than guessing by frequency."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.examples.training import TINY_LLAMA, train_module

if TYPE_CHECKING:
    from types import ModuleType

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors")
pre_tokenizers = pytest.importorskip("tokenizers.pre_tokenizers")

pytestmark = pytest.mark.engine_env

TEXTS = ("def f(x):\n\treturn x\r\n", "naïve 東京 🙂‍↔️ \u202e", "".join(map(chr, range(256))), "    \n\n  ", "")


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return dict(json.loads((TINY_LLAMA / "config.json").read_text()))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return transformers.AutoTokenizer.from_pretrained(TINY_LLAMA)


@pytest.fixture(scope="module")
def train() -> ModuleType:
    return train_module()


@pytest.fixture(scope="module")
def files(train: ModuleType) -> dict[str, str]:
    return dict(train.stdlib_sources())


def test_is_a_llama_of_8_layers_whose_query_heads_share_kv_heads(config):
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["num_hidden_layers"] == 8
    assert config["num_attention_heads"] == 2 * config["num_key_value_heads"]
    assert config["head_dim"] == 64
    assert config["max_position_embeddings"] == 4096
    assert config["torch_dtype"] == config["dtype"] == "float16"


def test_weights_are_float16_and_finite_in_a_small_file():
    file = TINY_LLAMA / "model.safetensors"
    assert file.stat().st_size < 12_000_000
    with safetensors.safe_open(file, framework="pt") as weights:
        tensors = [weights.get_tensor(name) for name in weights.keys()]  # noqa: SIM118 (not a dict)
    assert 2_000_000 < sum(tensor.numel() for tensor in tensors) < 6_000_000
    assert all(tensor.dtype == torch.float16 and tensor.isfinite().all() for tensor in tensors)


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_decodes_to_itself(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_every_byte_has_a_token_of_its_own(tokenizer):
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    assert len(alphabet) == 256
    assert set(alphabet) <= tokenizer.get_vocab().keys()


def test_special_tokens_are_one_token_each(tokenizer, train):
    assert [tokenizer.encode(token, add_special_tokens=False) for token in train.SPECIAL] == [[0], [1], [2], [3], [4]]
    assert tokenizer.encode("x")[0] == tokenizer.bos_token_id == 0


def test_chat_template_ends_where_the_assistant_speaks(tokenizer):
    messages = [{"role": "user", "content": "Show me f."}]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert rendered == "<|start|><|user|>Show me f.<|end|><|assistant|>"


def test_about_one_file_in_twenty_is_held_out(train, files):
    assert 0.02 < sum(map(train.is_held_out, files)) / len(files) < 0.1


def test_held_out_loss_is_clearly_below_the_unigram_models(tokenizer, train, files):
    held_out = [path for path in files if train.is_held_out(path)]
    seen = [path for path in files if not train.is_held_out(path)][::8]
    encoder = tokenizer.backend_tokenizer
    tokens = train.encode_all(encoder, [files[path] for path in held_out])[: 2 * train.CONTEXT + 1]
    unigram = train.unigram_loss(train.encode_all(encoder, [files[path] for path in seen]), tokens)
    model = train.load(TINY_LLAMA)
    assert train.model_loss(model, tokens, 512) < 0.65 * unigram
    assert train.model_loss(model, tokens, 4096) < 0.65 * unigram


def test_float16_logits_are_finite_over_the_whole_context(train):
    model = transformers.LlamaForCausalLM.from_pretrained(TINY_LLAMA, dtype=torch.float16)
    tokens = torch.randint(train.VOCABULARY, (1, train.CONTEXT), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert model(input_ids=tokens).logits.isfinite().all()
