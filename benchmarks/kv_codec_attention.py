"""What coded keys do to attention: the divergence of its weights from those that the exact keys give."""

import torch
from torch import Tensor

QUERIES = 64
"""The last of a window: they see most of it."""


def attention_kl(queries: Tensor, scaling: float, exact: Tensor, coded: Tensor) -> Tensor:
    """Nats of KL(exact, coded), `[heads, queries]`. Queries `[heads, n, channels]` are the last n tokens' of a window.

    Keys are `[KV heads, tokens, channels]`, each for as many consecutive heads as there are to one.
    """
    expected, found = (_log_weights(queries, scaling, keys) for keys in (exact, coded))
    return (expected.exp() * (expected - found)).nan_to_num().sum(-1)


def _log_weights(queries: Tensor, scaling: float, keys: Tensor) -> Tensor:
    heads, count, _ = queries.shape
    shared = keys.float().repeat_interleave(heads // keys.shape[0], dim=0)
    scores = queries.float() @ shared.transpose(1, 2) * scaling
    tokens = scores.shape[-1]
    ahead = torch.ones(count, tokens, dtype=torch.bool).triu(tokens - count + 1)
    return scores.masked_fill(ahead, float("-inf")).log_softmax(-1)
