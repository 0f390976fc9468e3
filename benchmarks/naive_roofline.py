"""The roofline that the cost model has to beat: 70 % of peak or 75 % of bandwidth, whichever takes longer.

2 FLOPs a weight and token, causal attention, weights and KV read once, the output head for whole models; no
communication, no overheads, nothing fitted.
"""

import numpy as np

from benchmarks.measured_rows import Batch, Floats
from planner.gpus import gpu_named
from planner.models import llm_named

PEAK_SHARE, BANDWIDTH_SHARE = 0.70, 0.75


def naive_s(batch: Batch) -> Floats:
    """Seconds of every row."""
    case, sizes = batch.case, batch.sizes
    llm, gpu = llm_named(case.model), gpu_named(case.gpu)
    prefills, whole = case.phase == "prefill", case.scope == "model"
    layers = llm.layers if whole else 1
    tokens = sizes.batch * sizes.prompt if prefills else sizes.batch
    rows = sizes.batch
    head = llm.vocabulary * llm.hidden if whole else 0
    flops = 2 * layers * llm.layer_parameters * tokens + 2 * head * rows
    read = np.zeros_like(batch.measured_s) + 2 * layers * llm.layer_parameters + 2 * head
    if case.scope != "gemm":
        attended = sizes.batch * (sizes.prompt**2 / 2 if prefills else sizes.context)
        flops = flops + 4 * layers * attended * llm.heads * llm.head_dim
        read = read + (0 if prefills else layers * llm.kv_bytes_per_token_layer * sizes.batch * sizes.context)
    peak, bandwidth = gpu.fp16_tflops * 1e12 * case.tp, gpu.memory_gb_per_s * 1e9 * case.tp
    return np.asarray(np.maximum(flops / (PEAK_SHARE * peak), read / (BANDWIDTH_SHARE * bandwidth)))
