"""How long one layer takes on each GPU of a tensor-parallel group, part by part.

With T tokens in a pass, P weights of B bytes in the matrices that a token meets, hidden size H, TP degree t, and the
GPU's rates F (FLOP/s that GEMMs reach), W (bytes/s that weights reach), V (bytes/s of element-wise work):

    matrices     (2 P T' / (t F))  with  (P B / (t W))      T': T in whole tiles
    attention    2 (sum of end² - start²) heads head_dim / (t F attention_share)       half of 4 n² H: causal
    KV           context kv_bytes / (kv shards W kv_share)
    element-wise 2 T (passes H + (3 I + 2 (q + kv)) / t) / V                            bytes of 16-bit activations
    collectives  2 (alpha + 2 (t - 1) / t T H 2 / beta)

plus the latency of the kernels. "with" is (a^p + b^p)^(1/p), as computing and reading overlap in part: p = 1 would be
one after the other, infinite p a roofline.
"""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from planner.catalog import GpuType
from planner.costmodel.coefficients import NO_LIMIT, Constants, EngineProfile
from planner.costmodel.collectives import Interconnect
from planner.llm import LlmSpec

Amount: TypeAlias = float | npt.NDArray[np.floating[Any]]
Seconds: TypeAlias = float | npt.NDArray[np.floating[Any]]

GEMMS, ELEMENTWISE_KERNELS = 4, 5
"""QKV, output, up and gate, down; two norms, rotary embedding, activation, residual."""
EXPERT_KERNELS = 5
"""Router, choice of experts, their order, and gathering what they say."""
ROWS = 16.0
"""Rows of the smallest piece that tensor cores work on; kernels for few tokens, and those of experts, pad to it."""
TINY = 1e-9
"""Keeps a pass without tokens from dividing by none."""
ROW_OVERLAP = 4.0
"""How sharply element-wise work passes from its longest row to memory traffic."""
ROUNDING = 1e-6
"""Tokens that a sum of parts may be off: a pass that is full to the last token takes no further tile."""
POWER_KNEE = 6.0
"""How sharply a card settles on what its power sustains."""


@dataclass(frozen=True, slots=True)
class GpuRates:
    """What a GPU really does: FLOP/s of GEMMs, bytes/s of weights, of KV and of element-wise work."""

    flops: float
    attention_flops: float
    read: float
    read_kv: float
    elementwise: float


@dataclass(frozen=True, slots=True)
class LayerCost:
    """The coefficients of one layer, in seconds; each method takes plain numbers or arrays of one shape.

    `dense_token_s` computes a token in the matrices that every token meets and `dense_read_s` reads them;
    `expert_token_s` computes a token in its experts and `expert_read_s` reads all experts, of which a token meets
    `expert_share`. `window` tokens are attended to in all layers but `full_share` of them (0: no window).
    """

    dense_token_s: float
    dense_read_s: float
    expert_token_s: float
    expert_read_s: float
    expert_share: float
    pair_s: float
    context_s: float
    elementwise_token_s: float
    elementwise_row_s: float
    exchange_s: float
    exchange_fixed_s: float
    kernel_s: float
    elementwise_kernel_s: float
    overlap: float
    tile_tokens: float
    window: float = 0.0
    full_share: float = 1.0
    fixed_s: float = field(init=False)
    """What a pass costs whatever is in it: latencies of kernels and collectives."""

    def __post_init__(self) -> None:
        kernels = GEMMS + 1 + (EXPERT_KERNELS if self.expert_read_s else 0)
        around_s = ELEMENTWISE_KERNELS * self.elementwise_kernel_s + self.exchange_fixed_s
        object.__setattr__(self, "fixed_s", kernels * self.kernel_s + around_s)

    def matrices_s(self, tokens: Amount) -> Seconds:
        """The weight matrices for `tokens` tokens."""
        computed_s = self.dense_token_s * whole_tiles(tokens, self.tile_tokens)
        dense = with_overlap(computed_s, self.dense_read_s, self.overlap) + GEMMS * self.kernel_s
        return dense + self.experts_s(tokens) + EXPERT_KERNELS * self.kernel_s if self.expert_read_s else dense

    def experts_s(self, tokens: Amount) -> Seconds:
        """Mixture-of-experts: with uniform routing, 1 - (1 - share)^T of the experts are met by some token."""
        met = 1 - (1 - self.expert_share) ** tokens
        padded = tokens + ROWS / 2 * met / self.expert_share
        return with_overlap(self.expert_token_s * padded, self.expert_read_s * met, self.overlap)

    def seen(self, tokens: Amount, pairs: Amount, batch: Amount, context: Amount) -> tuple[Amount, Amount]:
        """What is left of `pairs` and `context` in the mean layer, where some attend within a window of w tokens.

        A prompt of n tokens has n² pairs, of which a window leaves n² - (n - w)². `pairs` over `tokens` is n for whole
        prompts, and twice the middle of a piece.
        """
        if not self.window:
            return pairs, context
        length = pairs / (tokens + TINY) + TINY
        short = shorter(length, self.window)
        windowed = tokens * (2 * short - short * short / length)
        near = shorter(context, self.window * batch)
        rest = 1 - self.full_share
        return self.full_share * pairs + rest * windowed, self.full_share * context + rest * near

    def attention_s(self, pairs: Amount, context: Amount) -> Seconds:
        """`pairs` of prompt tokens (sum of end² - start²), and decoding over `context` tokens of KV together."""
        return self.pair_s * pairs + self.context_s * context + self.kernel_s

    def elementwise_s(self, tokens: Amount) -> Seconds:
        """Bound by the longest row of one token while there are few, by memory traffic then."""
        work = with_overlap(self.elementwise_token_s * tokens, self.elementwise_row_s, ROW_OVERLAP)
        return work + ELEMENTWISE_KERNELS * self.elementwise_kernel_s

    def collectives_s(self, tokens: Amount) -> Seconds:
        """Two all-reduces; nothing where TP is 1."""
        return self.exchange_fixed_s + self.exchange_s * tokens

    def total_s(self, tokens: Amount, pairs: Amount, context: Amount) -> Seconds:
        """The sum of the parts, written out: the simulator asks for it in every pass."""
        linear = self.fixed_s + self.exchange_s * tokens + self.pair_s * pairs + self.context_s * context
        computed_s = self.dense_token_s * whole_tiles(tokens, self.tile_tokens)
        dense = with_overlap(computed_s, self.dense_read_s, self.overlap)
        work = with_overlap(self.elementwise_token_s * tokens, self.elementwise_row_s, ROW_OVERLAP)
        total = linear + dense + work
        return total + self.experts_s(tokens) if self.expert_read_s else total


def layer_cost(
    llm: LlmSpec, gpu: GpuType, tp: int, *, link: Interconnect | None, engine: EngineProfile, constants: Constants
) -> LayerCost:
    """One layer on `tp` GPUs joined by `link` (None: TP 1, or communication left out)."""
    rates = gpu_rates(gpu, llm, constants)
    expert = _active_expert_parameters(llm)
    dense_bytes = float(llm.layer_bytes_read(0.0))
    row = _row_values(llm) / tp
    share = engine.collective_share if link and link.nvlink else 1.0
    token_bytes = 2.0 * (constants.hidden_passes * llm.hidden + row) * engine.elementwise_factor
    reread = 1 + engine.kv_reread * (llm.heads / llm.kv_heads - 1)
    return LayerCost(
        dense_token_s=2 * (llm.active_layer_parameters - expert) / tp / rates.flops,
        dense_read_s=dense_bytes / tp / rates.read,
        expert_token_s=2 * expert / tp / rates.flops,
        expert_read_s=(llm.layer_weight_bytes - dense_bytes) / tp / rates.read,
        expert_share=llm.active_experts / llm.experts if llm.experts else 1.0,
        pair_s=2 * llm.heads * llm.head_dim / tp / rates.attention_flops,
        context_s=llm.kv_bytes_per_token_layer / min(tp, llm.kv_heads) * reread / rates.read_kv,
        elementwise_token_s=token_bytes / rates.elementwise,
        elementwise_row_s=2.0 * row / (constants.row_gb_per_s * 1e9),
        exchange_s=2 * link.token_s(llm.hidden * 2.0, tp) / share if link else 0.0,
        exchange_fixed_s=2 * link.alpha_s if link else 0.0,
        kernel_s=constants.kernel_s,
        elementwise_kernel_s=constants.elementwise_kernel_s,
        overlap=constants.overlap,
        tile_tokens=gpu.efficiency.tile_tokens,
        window=float(llm.window),
        full_share=llm.full_share,
    )


def gpu_rates(gpu: GpuType, llm: LlmSpec, constants: Constants) -> GpuRates:
    """A card's rates for a model; fp8 weights compute at the fp8 rate where the card has one, all others in 16 bits."""
    efficiency = gpu.efficiency
    flops = efficiency.gemm_share * gpu.fp16_tflops * 1e12
    if gpu.tdp_w and efficiency.tflops_per_watt < NO_LIMIT:
        flops = _held_back(flops, efficiency.tflops_per_watt * 1e12 * gpu.tdp_w)
    read = efficiency.read_share * gpu.memory_gb_per_s * 1e9
    return GpuRates(
        flops=flops * (gpu.fp8_tflops / gpu.fp16_tflops if llm.fp8 and gpu.fp8_tflops else 1.0),
        attention_flops=flops * constants.attention_share * efficiency.attention_factor,
        read=read,
        read_kv=read * constants.kv_share,
        elementwise=efficiency.elementwise_share * gpu.memory_gb_per_s * 1e9,
    )


def whole_tiles(tokens: Amount, tile: float) -> Amount:
    """Tokens rounded up to whole tiles; those that fit half a tile, to pieces of 16 rows.

    129 tokens cost a GPU about as much as 256: the stairs are plain in Vidur's tables. Few tokens get other kernels.
    """
    piece = tile if tile < ROWS else ROWS
    whole = tile + (tokens <= tile / 2) * (piece - tile)
    return -((ROUNDING - tokens) // whole) * whole


def with_overlap(a: Amount, b: Amount, p: float) -> Amount:
    """(a^p + b^p)^(1/p): between a + b (p = 1) and the longer of the two (p infinite)."""
    return (a**p + b**p) ** (1 / p)


def _held_back(flops: float, limit: float) -> float:
    """What is left of a rate that the board's power limits: the smaller of the two, with a rounded knee."""
    return float((flops**-POWER_KNEE + limit**-POWER_KNEE) ** (-1 / POWER_KNEE))


def longer(a: Amount, b: Amount) -> Amount:
    """The larger of two numbers, or of arrays element by element: quick for plain numbers, exact but for rounding."""
    return a + (b > a) * (b - a)


def shorter(a: Amount, b: Amount) -> Amount:
    """The smaller of two numbers, or of arrays element by element, as `longer`."""
    return a + (b < a) * (b - a)


def _active_expert_parameters(llm: LlmSpec) -> float:
    """Weights of the experts that a token passes through; 0 for a dense model."""
    idle = llm.experts - llm.active_experts
    return llm.active_experts * (llm.mlp_parameters - llm.active_mlp_parameters) / idle if idle else 0.0


def _row_values(llm: LlmSpec) -> float:
    """Values of one token that the activation and the rotary embedding read and write."""
    width = llm.intermediate * max(1, llm.active_experts) + llm.shared_intermediate
    return (3 if llm.gated else 2) * width + 2 * (llm.heads + llm.kv_heads) * llm.head_dim
