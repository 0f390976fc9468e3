"""What an engine can run: the dtypes of a GPU, what vLLM asks of TP, and the longest pipeline that is planned."""

from collections.abc import Iterator

from planner.catalog import GpuType
from planner.llm import LlmSpec

MOST_STAGES = 8
NEED_BF16 = ("bfloat16", "mxfp4")
"""mxfp4 experts lie among bfloat16 weights."""


def runs_on(llm: LlmSpec, gpu: GpuType) -> bool:
    """Whether the GPU has the model's type of numbers."""
    return gpu.bf16 or llm.dtype not in NEED_BF16


def heads_split(llm: LlmSpec, tp: int) -> bool:
    """Powers of two that split the heads evenly, and the KV heads evenly or copy them evenly (vLLM's rules)."""
    is_power = tp > 0 and tp & (tp - 1) == 0
    return is_power and llm.heads % tp == 0 and (llm.kv_heads % tp == 0 or tp % llm.kv_heads == 0)


def degrees(llm: LlmSpec, gpus: int, places: int = 1) -> Iterator[tuple[int, int]]:
    """Every (TP, PP) that uses all of `gpus` GPUs on each of so many instances, each stage on one of them."""
    for tp in range(1, gpus + 1):
        stages = gpus // tp * places
        if gpus % tp == 0 and heads_split(llm, tp) and stages <= min(MOST_STAGES, llm.layers):
            yield tp, stages
