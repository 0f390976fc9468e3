"""The limits of an engine's batches: vLLM is started with them, and the simulator and the capacities assume them.

A replica may flip between phases without a restart, so one pair of limits serves all phases. They are vLLM's own
defaults for its API server on GPUs below 70 GiB; given explicitly, every GPU behaves as planned.
"""

TOKENS_PER_PASS = 2048
"""Tokens that one pass computes at most, prompts and decoding sequences together (`max_num_batched_tokens`)."""
MAX_SEQUENCES = 256
"""Sequences that an engine runs together at most (`max_num_seqs`)."""
