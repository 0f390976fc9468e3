"""The shape of a model's KV cache, and how many bytes a tile of it takes in each encoding.

A payload holds K then V of the tile's tokens, in up to two parts: first the tokens in `int8`, then those in `int4` (or
all of them raw). For the parts' insides see `runtime/codec/reference.py`.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from planner.errors import KvTransferError

GROUP_TOKENS = 64
VALUE_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}
LIMIT_SHAPE = 1024

_SCALE_BYTES = 4  # a scale and a minimum, fp16 each


class Parts(NamedTuple):
    """How many of a tile's tokens are kept in each encoding, in the order of the payload."""

    raw: int
    int8: int
    int4: int


@dataclass(frozen=True, slots=True)
class Geometry:
    """The KV cache of a whole model, whatever ranks it is spread over. `dtype` is what the cache holds."""

    layers: int
    kv_heads: int
    head_dim: int
    dtype: str

    def __post_init__(self) -> None:
        sizes = {"layers": self.layers, "KV heads": self.kv_heads, "values a head": self.head_dim}
        for name, value in sizes.items():
            if not 1 <= value <= LIMIT_SHAPE:
                raise KvTransferError(f"A KV cache has {value} {name}; expected 1 to {LIMIT_SHAPE}.")
        if self.head_dim % 2:
            raise KvTransferError(f"A KV head has {self.head_dim} values; expected an even number.")
        if self.dtype not in VALUE_BYTES:
            raise KvTransferError(f"A KV cache holds {self.dtype}; expected one of {', '.join(VALUE_BYTES)}.")

    @property
    def value_bytes(self) -> int:
        return VALUE_BYTES[self.dtype]

    @property
    def int8_channels(self) -> int:
        """Channels that share a scale in `int8`: the largest divisor of the head up to 128."""
        return largest_divisor(self.head_dim, 128)

    @property
    def int4_channels(self) -> int:
        """Channels of V that share a scale in `int4`: 64 where the head divides so, else as in `int8`."""
        return GROUP_TOKENS if self.head_dim % GROUP_TOKENS == 0 else self.int8_channels


@lru_cache(maxsize=256)
def payload_bytes(geometry: Geometry, parts: Parts) -> int:
    """K and V together. Per token in `int8`; K per channel and V per token in `int4`."""
    dim = geometry.head_dim
    total = 2 * parts.raw * dim * geometry.value_bytes
    total += 2 * parts.int8 * (dim + dim // geometry.int8_channels * _SCALE_BYTES)
    if parts.int4:
        total += parts.int4 * dim + dim * _SCALE_BYTES + parts.int4 * (dim // geometry.int4_channels) * _SCALE_BYTES
    return total


def largest_divisor(number: int, limit: int) -> int:
    return next(divisor for divisor in range(min(number, limit), 0, -1) if number % divisor == 0)
