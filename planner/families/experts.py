"""Families with experts, of which a router chooses a few for each token."""

from planner.families.config import ModelConfig
from planner.families.dense import qwen2, qwen3
from planner.families.parts import Shape, common, experts, windows


def mixtral(config: ModelConfig) -> Shape:
    return {**common(config), **windows(config), **experts(config, "num_local_experts")}


def qwen2_moe(config: ModelConfig) -> Shape:
    """Beside the chosen experts one that every token passes, with a gate: a row of `hidden`."""
    shape = {**qwen2(_with_expert_width(config)), **experts(config, "num_experts")}
    shared = config.whole("shared_expert_intermediate_size")
    return {**shape, "shared_intermediate": shared, "extra_layer_parameters": shape["hidden"]}


def qwen3_moe(config: ModelConfig) -> Shape:
    return {**qwen3(_with_expert_width(config)), **experts(config, "num_experts")}


def gpt_oss(config: ModelConfig) -> Shape:
    """Biases on all matrices, the router's too, and a learned sink a head; every second layer attends to all."""
    shape = {**common(config, states_head_dim=True), **experts(config, "num_local_experts")}
    extra = shape["heads"] + shape["hidden"] + shape["experts"]
    biases = {"attention_bias": True, "mlp_bias": True, "extra_layer_parameters": extra}
    return {**shape, **windows(config, full_layers=shape["layers"] // 2), **biases}


def _with_expert_width(config: ModelConfig) -> ModelConfig:
    """Qwen's `intermediate_size` is the width of layers without experts; models that have such layers are refused."""
    step, plain = config.whole("decoder_sparse_step", 1), config.values.get("mlp_only_layers")
    if step != 1 or plain:
        raise config.wrong(f"has decoder_sparse_step {step} and mlp_only_layers {plain or []}; expected 1 and none.")
    return config.replaced({"intermediate_size": config.whole("moe_intermediate_size")})
