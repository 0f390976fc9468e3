"""What an implementation of the codecs does, and the error all of them raise."""

from typing import Protocol

import torch
from torch import Tensor

from planner.errors import KvTransferError
from runtime.tiles.geometry import Geometry, Parts

TORCH_DTYPE = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
NOT_FINITE = "KV holds values that are not finite."
NOT_IN_FP16 = "KV holds values that are not finite, or that fp16 can't hold."


class CannotEncode(KvTransferError):
    """The KV holds NaN, infinities, or values that the codec has no number for."""


class TileCodec(Protocol):
    """Tiles that are all split alike to payloads and back; the bytes are those of `runtime.codec.reference`."""

    def encode_tiles(self, geometry: Geometry, parts: Parts, keys: Tensor, values: Tensor) -> Tensor:
        """Payloads `[tiles, bytes]` of K and V, each `[tiles, tokens, channels]`. Raises CannotEncode."""
        ...

    def decode_tiles(self, geometry: Geometry, parts: Parts, payload: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse, in the cache's dtype."""
        ...
