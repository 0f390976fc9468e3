"""The GPU's kernels under Triton's interpreter, in another process: Triton must know when it is first imported."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import torch

from runtime.codec.protocol import TORCH_DTYPE


class Interpreted:
    """A TileCodec; tensors cross as arrays of bits."""

    def __init__(self):
        self._process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _interpret)

    def encode_tiles(self, geometry, parts, keys, values):
        bits = [part.view(torch.uint16).numpy() for part in (keys, values)]
        return torch.from_numpy(self._process.submit(_encode, geometry, parts, *bits).result())

    def decode_tiles(self, geometry, parts, payload):
        restored = self._process.submit(_decode, geometry, parts, payload.numpy()).result()
        return [torch.from_numpy(part).view(TORCH_DTYPE[geometry.dtype]) for part in restored]

    def close(self):
        self._process.shutdown()


def _interpret():
    os.environ["TRITON_INTERPRET"] = "1"
    torch.set_num_threads(1)


def _encode(geometry, parts, *bits):
    from runtime.codec import on_gpu

    kv = [torch.from_numpy(part).view(TORCH_DTYPE[geometry.dtype]) for part in bits]
    return on_gpu.encode_tiles(geometry, parts, *kv).numpy()


def _decode(geometry, parts, payload):
    from runtime.codec import on_gpu

    restored = on_gpu.decode_tiles(geometry, parts, torch.from_numpy(payload))
    return [part.view(torch.uint16).numpy() for part in restored]
