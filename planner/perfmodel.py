"""How long a pass of the engine takes, and a KV transfer: a roofline per layer, with collectives and host overhead.

Per layer, with P parameters of B bytes, hidden size H, n prompt tokens, b decoding sequences with `context` tokens of
KV between them, TP degree t, peak F, bandwidth W and their efficiencies e:

    weights      max(2 P (n + b) / (t F e_p), P B / (t W e_d))     compute or reading the weights, whichever is longer
    attention    2 n² heads head_dim / (t F e_p)                   causal: half of 4 n² H
    KV           context kv_layer / (kv shards W e_d)
    collectives  2 (alpha + 2 (t - 1) / t (n + b) H 2 bytes / beta)

A prefill pass has b = 0, a decode step n = 0, and a chunked pass both: it reads the weights once. A pipeline adds a hop
between stages; its stages work on different batches at the same time.
"""

from dataclasses import dataclass, field
from functools import cache
from math import ceil, log2
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from planner.catalog import GpuType, Link
from planner.deployment import Codec
from planner.llm import BYTES_PER_VALUE, LlmSpec

Seconds: TypeAlias = float | npt.NDArray[np.float64]
Amount: TypeAlias = float | npt.NDArray[np.float64]

ELEMENTWISE_PER_DOUBLING = 0.05
"""Norms, activations and rotary embedding grow from 4-5 % of a layer to 20 % at TP 8 (Vidur); TP 1 is in e."""
NVLINK_EFFICIENCY, NVLINK_ALPHA_S = 0.6, 30e-6
"""All-reduce bus bandwidth of A100-DGX, 172-183 of 300 GB/s one way (Vidur); alpha of an idle group."""
PCIE_GB_PER_S, PCIE_ALPHA_S = 4.5, 90e-6
"""Without NVLink: Helix's L4 x2 3.5, T4 x4 4.2, Vidur's A40 pair 4.0 GB/s, whatever the PCIe generation."""
CHUNK_TOKENS = 2048
"""Prompt tokens of a pass that short prompts share, and that a mixed replica adds to one decode step."""
CODEC_GB_PER_S = 60.0
"""Packing or unpacking KV on a GPU, counted in 16-bit bytes: LMCache's 4-bit codec does 65-70 on an L20."""
INT8_BITS, INT4_BITS, BOUNDARY_LAYERS = 8.25, 4.5, 4
"""Bits a value takes on the wire with scales; the first and last two layers of int4 travel as int8."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast one replica works: the coefficients of a pass through all its layers, in seconds.

    `weights_s` reads the weights, `token_s` computes a token, `pair_s` one unit of prompt², `context_s` reads a token
    of KV, `exchange_s` moves a token's activations between GPUs, `fixed_s` is what every pass pays. `chunk_s` follows
    from them: one pass over CHUNK_TOKENS of a prompt.
    """

    fixed_s: float
    weights_s: float
    token_s: float
    pair_s: float
    context_s: float
    exchange_s: float
    pp: int = 1
    chunk_s: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "chunk_s", float(self.prefill_s(float(CHUNK_TOKENS))))

    def prefill_s(self, tokens: Amount, squares: Amount | None = None) -> Seconds:
        """One pass over prompts of `tokens` together; `squares` is the sum of their squared lengths."""
        pairs = tokens * tokens if squares is None else squares
        work = _longer(self.weights_s, self.token_s * tokens)
        return self.fixed_s * self.pp + work + self.pair_s * pairs + self.exchange_s * tokens

    def prefill_interval_s(self, tokens: Amount, squares: Amount | None = None) -> Seconds:
        """Time from one prefill pass to the next: a pipeline starts the next once its first stage is free."""
        return self.prefill_s(tokens, squares) / self.pp

    def decode_step_s(self, batch: Amount, context: Amount) -> Seconds:
        """One token for each of `batch` sequences that hold `context` tokens of KV together.

        In a pipeline each stage works on its part of the batch, so a step is one turn of all parts.
        """
        part = batch / self.pp
        work = _longer(self.weights_s, self.token_s * part) + self.exchange_s * part
        return self.fixed_s * self.pp + work + self.context_s * context / self.pp

    def chunked_step_s(self, batch: Amount, context: Amount) -> Seconds:
        """A decode step that carries a chunk of a prompt along."""
        return self.chunk_s + (self.token_s + self.exchange_s) * batch + self.context_s * context / self.pp


@cache
def pace(llm: LlmSpec, gpu: GpuType, tp: int, pp: int, *, nvlink: bool) -> Pace:
    """The pace of a replica of `tp` x `pp` equal GPUs of one instance."""
    flops = tp * gpu.fp16_tflops * 1e12 * gpu.prefill_efficiency
    bytes_per_s = gpu.memory_gb_per_s * 1e9 * gpu.decode_efficiency
    alpha, beta = collective(gpu, tp, nvlink=nvlink)
    longest = ceil(llm.layers / pp) * pp
    elementwise = 1 + ELEMENTWISE_PER_DOUBLING * log2(tp)
    head = llm.vocabulary * llm.hidden
    activation = llm.hidden * 2.0
    reduced = 2 * longest * 2 * (tp - 1) / tp * activation / beta if tp > 1 else 0.0
    hops = (pp - 1) * activation / beta
    collectives = 2 * longest * alpha if tp > 1 else 0.0
    return Pace(
        fixed_s=gpu.step_overhead_s + (collectives + (pp - 1) * alpha) / pp,
        weights_s=(longest * llm.layer_weight_bytes + head * 2.0) / (tp * bytes_per_s),
        token_s=elementwise * 2 * longest * llm.layer_parameters / flops,
        pair_s=2 * longest * llm.heads * llm.head_dim / flops,
        context_s=longest * llm.kv_bytes_per_token_layer * ceil(llm.kv_heads / tp) / llm.kv_heads / bytes_per_s,
        exchange_s=reduced + hops,
        pp=pp,
    )


def collective(gpu: GpuType, tp: int, *, nvlink: bool) -> tuple[float, float]:
    """(alpha seconds, beta bytes/s) of an all-reduce of `tp` GPUs; a bridge joins two cards only."""
    if nvlink and gpu.nvlink_gb_per_s > 0 and tp <= gpu.nvlink_cards:
        return NVLINK_ALPHA_S, gpu.nvlink_gb_per_s * 1e9 * NVLINK_EFFICIENCY
    return PCIE_ALPHA_S, min(PCIE_GB_PER_S, gpu.pcie_gb_per_s) * 1e9


def wire_ratio(llm: LlmSpec, codec: Codec) -> float:
    """How many times smaller KV is on the wire than in the cache."""
    bits = 32.0 if BYTES_PER_VALUE[llm.dtype] == 4.0 else 16.0
    boundary = min(BOUNDARY_LAYERS, llm.layers)
    match codec:
        case Codec.INT8:
            return bits / INT8_BITS
        case Codec.INT4:
            return bits * llm.layers / (boundary * INT8_BITS + (llm.layers - boundary) * INT4_BITS)
        case _:
            return 1.0


def kv_wire_bytes(llm: LlmSpec, tokens: Amount, codec: Codec) -> Amount:
    """What crosses the network for a prompt; nothing where the decode replica prefills itself."""
    if codec is Codec.LOCAL:
        return tokens * 0.0
    return tokens * llm.kv_bytes_per_token / wire_ratio(llm, codec)


def kv_transfer_s(link: Link, tokens: Amount, llm: LlmSpec, codec: Codec) -> Seconds:
    """Latency + bytes ÷ bandwidth, + packing and unpacking where the codec packs."""
    if codec is Codec.LOCAL:
        return tokens * 0.0
    wire = link.latency_ms / 1e3 + kv_wire_bytes(llm, tokens, codec) * 8 / (link.bandwidth_gbit_per_s * 1e9)
    packing = 0.0 if codec is Codec.RAW else 2 * tokens * llm.kv_bytes_per_token / (CODEC_GB_PER_S * 1e9)
    return wire + packing


def _longer(a: float, b: Amount) -> Seconds:
    """The larger one; plain numbers stay plain, which the simulator's inner loop needs."""
    return max(a, b) if isinstance(b, float) else np.maximum(a, b)
