"""The architectures that can be read, and why others cannot."""

from collections.abc import Callable, Mapping

from planner.errors import SpecError
from planner.families import dense, experts
from planner.families.config import ModelConfig
from planner.families.parts import Shape

FAMILIES: Mapping[str, Callable[[ModelConfig], Shape]] = {
    "LlamaForCausalLM": dense.llama,
    "LLaMAForCausalLM": dense.llama,
    "MistralForCausalLM": dense.mistral,
    "Qwen2ForCausalLM": dense.qwen2,
    "Qwen3ForCausalLM": dense.qwen3,
    "GemmaForCausalLM": dense.gemma,
    "Gemma2ForCausalLM": dense.gemma2,
    "Gemma3ForCausalLM": dense.gemma3,
    "Gemma3ForConditionalGeneration": dense.gemma3,
    "PhiForCausalLM": dense.phi,
    "Phi3ForCausalLM": dense.mistral,
    "OPTForCausalLM": dense.opt,
    "MixtralForCausalLM": experts.mixtral,
    "Qwen2MoeForCausalLM": experts.qwen2_moe,
    "Qwen3MoeForCausalLM": experts.qwen3_moe,
    "GptOssForCausalLM": experts.gpt_oss,
}
"""By the word that a config has under `architectures`."""

NOT_UNDERSTOOD = {
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank"), "multi-head latent attention"),
    **dict.fromkeys(("vision_config", "audio_config", "visual", "mm_projector_type"), "input other than text"),
    **dict.fromkeys(("ssm_cfg", "state_size", "mamba_d_state", "mamba_d_ssm", "ssm_state_size"), "a state-space model"),
    **dict.fromkeys(("rwkv_version", "linear_num_key_heads", "lru_width"), "linear or recurrent attention"),
    **dict.fromkeys(("is_encoder_decoder",), "an encoder"),
}
"""Keys by which a config shows what sizes and times here do not cover."""


def family_of(config: ModelConfig) -> Callable[[ModelConfig], Shape]:
    """The reader for the config's architecture. SpecError says what about an unknown one is not understood."""
    found = config.words("architectures")
    family = next((FAMILIES[word] for word in found if word in FAMILIES), None)
    if family is None:
        raise SpecError(
            f"Model {config.name} has architecture {', '.join(found) or 'none'}{_because(config)}; expected one of "
            f"{', '.join(FAMILIES)}.",
            hint="The model's size and speed cannot be predicted; choose one of a family listed.",
        )
    return family


def _because(config: ModelConfig) -> str:
    marks = (f"{what} (it has {key})" for key, what in NOT_UNDERSTOOD.items() if config.values.get(key))
    why = next(marks, "")
    return f", which means {why}" if why else ""
