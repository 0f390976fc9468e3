"""Which implementation of the codecs serves: the quickest for the device, once it is compiled and proved here.

Compiling takes seconds, so it is done in a thread beside the engine's start, and the reference serves meanwhile. What
is compiled must first give the reference's bytes on this very machine: where it doesn't, or doesn't compile, the
reference goes on serving, and the log says so.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor

from planner.errors import KvTransferError
from runtime.codec import reference
from runtime.codec.protocol import TORCH_DTYPE, TileCodec
from runtime.tiles.format import SINK_TOKENS
from runtime.tiles.geometry import GROUP_TOKENS, Geometry, Parts

KNOWN_TILES = 3
KNOWN_PARTS = (
    Parts(0, GROUP_TOKENS, 0),
    Parts(0, 0, GROUP_TOKENS),
    Parts(0, SINK_TOKENS, GROUP_TOKENS - SINK_TOKENS),
    Parts(0, 1, 0),
)
"""All that tiles are split into, but that tails have any number of tokens."""

logger = logging.getLogger("vllm.thunder")


class Choice:
    """A TileCodec that is the reference until `prepare` has made a quicker one. One per worker."""

    def __init__(self, prepare: Callable[[], TileCodec]) -> None:
        self._prepare = prepare
        self._codec: TileCodec = reference

    def start(self) -> threading.Thread:
        """Prepare beside whatever else goes on."""
        thread = threading.Thread(target=self._change, name="thunder-codec", daemon=True)
        thread.start()
        return thread

    def encode_tiles(self, geometry: Geometry, parts: Parts, keys: Tensor, values: Tensor) -> Tensor:
        return self._codec.encode_tiles(geometry, parts, keys, values)

    def decode_tiles(self, geometry: Geometry, parts: Parts, payload: Tensor) -> tuple[Tensor, Tensor]:
        return self._codec.decode_tiles(geometry, parts, payload)

    def _change(self) -> None:
        try:
            self._codec = self._prepare()
        except Exception:
            logger.exception("The quicker KV codec is not to be had here; the slower reference serves")


def quickest(geometry: Geometry, device: torch.device) -> TileCodec:
    """Compile what is made for a device and prove it. Takes seconds."""
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        codec = _made_for(device)
        for parts in KNOWN_PARTS:
            prove(codec, geometry, parts, device)
    return codec


def prove(codec: TileCodec, geometry: Geometry, parts: Parts, device: torch.device) -> None:
    """Raise KvTransferError unless known tiles become the reference's bytes, and these the reference's tiles."""
    dtype = TORCH_DTYPE[geometry.dtype]
    shape = torch.Size((2, KNOWN_TILES, sum(parts), geometry.head_dim))
    keys, values = ((torch.arange(shape.numel()) * 37 % 1009 - 504).view(shape) / 64).to(dtype)
    expected = reference.encode_tiles(geometry, parts, keys, values)
    payload = codec.encode_tiles(geometry, parts, keys.to(device), values.to(device))
    restored = zip(
        codec.decode_tiles(geometry, parts, payload), reference.decode_tiles(geometry, parts, expected), strict=True
    )
    if not (torch.equal(payload.cpu(), expected) and all(torch.equal(part.cpu(), known) for part, known in restored)):
        raise KvTransferError(f"The KV codec for {device.type} gives other bytes than the reference for {parts}.")


def _made_for(device: torch.device) -> TileCodec:
    """Imported where they are wanted: Triton for a GPU, numba for anything else."""
    if device.type == "cuda":
        from runtime.codec import on_gpu

        return on_gpu
    from runtime.codec import compiled

    compiled.warm_up()
    return compiled
