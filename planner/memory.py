"""Does a replica fit its GPUs, and how many tokens of KV are left over.

A stage holds its share of the layers, the embedding (first stage) or the output head (last), the activations of one
batch of prompts, and what the engine itself takes. What remains of the memory that the engine may use is KV, counted
over all layers: a model with windows needs less for a long sequence (`LlmSpec.kv_bytes`), which is left as reserve.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from planner.llm import BYTES_PER_VALUE, Amount, LlmSpec

GIB = 2**30
UTILISATION = 0.9
"""Share of a GPU's usable memory that the engine is given (vLLM's own default)."""
ENGINE_OVERHEAD_BYTES = 1.0 * GIB
"""CUDA context, graphs and communicators of one GPU."""
BATCHED_TOKENS = 8192
"""Prompt tokens that one prefill pass holds at most; sizes the activations."""


@dataclass(frozen=True, slots=True)
class StageMemory:
    """One pipeline stage as memory sees it: its layers, and the usable memory of each of its GPUs."""

    layers: int
    memory_gib: float


def kv_capacity_tokens(llm: LlmSpec, tp: int, stages: Sequence[StageMemory]) -> int:
    """Tokens whose KV the tightest stage can hold; 0 where the weights alone do not fit."""
    last = len(stages) - 1
    room = (
        stage_kv_tokens(llm, tp, stage.layers, stage.memory_gib, first=i == 0, last=i == last)
        for i, stage in enumerate(stages)
    )
    return max(0, int(min(room)))


def stage_kv_tokens(llm: LlmSpec, tp: int, layers: Amount, memory_gib: float, *, first: bool, last: bool) -> Amount:
    """Tokens whose KV a stage of so many layers can hold; negative where the weights alone do not fit."""
    free = stage_free_bytes(llm, tp, layers, memory_gib, first=first, last=last)
    return free / gpu_kv_bytes_per_token(llm, tp, layers)


def stage_free_bytes(llm: LlmSpec, tp: int, layers: Amount, memory_gib: float, *, first: bool, last: bool) -> Amount:
    """What a GPU of a stage has left for KV; negative where the weights alone do not fit."""
    usable = memory_gib * GIB * UTILISATION - ENGINE_OVERHEAD_BYTES - _activation_bytes(llm, tp)
    return usable - stage_weight_bytes(llm, tp, layers, first=first, last=last)


def even_layers(layers: int, stages: int) -> tuple[int, ...]:
    """As equal as whole layers allow; the first stages take the odd ones, as the last also holds the output head."""
    each, odd = divmod(layers, stages)
    return tuple(each + (1 if i < odd else 0) for i in range(stages))


def stage_weight_bytes(llm: LlmSpec, tp: int, layers: Amount, *, first: bool, last: bool) -> Amount:
    """Weights on each GPU of a stage. A tied embedding is held by both ends of a pipeline, positions by every GPU."""
    row = llm.hidden * max(BYTES_PER_VALUE[llm.dtype], 2.0)
    tables = 1 if first and last and llm.tied_embeddings else int(first) + int(last)
    return (layers * llm.layer_weight_bytes + tables * llm.vocabulary * row) / tp + first * llm.positions * row


def gpu_kv_bytes_per_token(llm: LlmSpec, tp: int, layers: Amount) -> Amount:
    """Of one token on one GPU of a stage: KV heads are split over TP, and copied once there are fewer than GPUs."""
    return llm.kv_bytes_per_token_layer * layers * ceil(llm.kv_heads / tp) / llm.kv_heads


def _activation_bytes(llm: LlmSpec, tp: int) -> float:
    """Residual stream, its norm and two projections, and what the feed-forward goes through, of one batch."""
    return BATCHED_TOKENS * (4 * llm.hidden + _feed_forward_values(llm, tp)) * 2.0


def _feed_forward_values(llm: LlmSpec, tp: int) -> float:
    """Of one token: its (gated pair of) up projections. Of each of its experts these or what comes out, whichever is
    wider, and what goes down, as vLLM's fused kernel keeps them."""
    ups = 2 if llm.gated else 1
    if not llm.experts:
        return ups * llm.intermediate / tp
    up, down = ups * llm.intermediate / tp, llm.intermediate / tp
    return llm.active_experts * (max(up, llm.hidden) + down) + ups * llm.shared_intermediate / tp
