"""How many tokens an engine has room for, by its own description of its KV cache."""

import re

BLOCK_TOKENS = 128
"""The largest block that vLLM makes on CPU: capacity is whole blocks."""


def kv_tokens(metrics: str) -> int:
    """Blocks times their size, as vLLM's `/metrics` says."""
    info = re.search(r"^vllm:cache_config_info\{(.*)\}", metrics, re.MULTILINE)
    assert info, metrics
    known = dict(re.findall(r'(\w+)="([^"]*)"', info[1]))
    return int(known["num_gpu_blocks"]) * int(known["block_size"])
