"""Keys made up as transformers with outlier channels have them: Gaussian, a few channels far off, turned by RoPE."""

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.kv_codec_attention import QUERIES, attention_kl
from benchmarks.kv_codec_schemes import Scheme
from runtime.tiles.geometry import Geometry

TOKENS, HEADS = 2048, 8
GEOMETRY = Geometry(layers=1, kv_heads=HEADS, head_dim=128, dtype="bfloat16")
OFFSETS = (0.0, 8.0, 30.0)
OUTLIERS = 4
"""Channels of a head that the offset is added to or taken from."""
ROPE_BASE = 10_000.0


def synthetic(schemes: Sequence[Scheme], seed: int) -> list[tuple[str, list[tuple[float, float]]]]:
    """For each scheme, as an inner layer has it, and each offset: the keys' relative error, the attention's nats."""
    torch.manual_seed(seed)
    worlds = [(turned(with_outliers(offset)), turned(torch.randn(HEADS, TOKENS, 128))) for offset in OFFSETS]
    return [(scheme.name, [_measured(scheme, *world) for world in worlds]) for scheme in schemes]


def with_outliers(offset: float) -> Tensor:
    """`[heads, tokens, channels]`, before they are turned."""
    keys = torch.randn(HEADS, TOKENS, 128)
    for head in keys:
        signs = torch.randint(2, (OUTLIERS,)) * 2.0 - 1
        head[:, torch.randperm(128)[:OUTLIERS]] += offset * signs
    return keys


def turned(part: Tensor) -> Tensor:
    """RoPE: channels i and i + half are turned by position x base^(-i / half)."""
    half = part.shape[-1] // 2
    angle = torch.outer(torch.arange(part.shape[-2]).float(), ROPE_BASE ** (-torch.arange(half) / half))
    first, second = part[..., :half], part[..., half:]
    return torch.cat((first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin()), -1)


def _measured(scheme: Scheme, keys: Tensor, queries: Tensor) -> tuple[float, float]:
    exact = keys.bfloat16().unsqueeze(0)
    coded, _ = scheme.crossed(GEOMETRY, (exact, exact))
    off = (coded.float() - exact.float()).norm() / exact.float().norm()
    nats = attention_kl(queries[:, -QUERIES:], 128**-0.5, exact[0], coded[0])
    return float(off), float(nats.mean())
