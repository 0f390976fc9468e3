"""How quick the implementations of the KV codecs are: on one CPU core, and on a GPU beside its own copy."""

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from planner.deployment import Codec
from runtime.codec import compiled, reference
from runtime.codec.protocol import TORCH_DTYPE, TileCodec
from runtime.codec.rows import decode, encode, rows_of
from runtime.tiles.format import KvFormat
from runtime.tiles.geometry import GROUP_TOKENS, Geometry, Parts
from runtime.tiles.layout import Layout

TAG = bytes(8)
REPEATS = 7
GIGABYTE = 1e9
CPU_TILES, GPU_TILES = 512, 1 << 14
SPLITS = {
    "raw": Parts(GROUP_TOKENS, 0, 0),
    "int8": Parts(0, GROUP_TOKENS, 0),
    "int4": Parts(0, 0, GROUP_TOKENS),
}
SHAPES = (Geometry(8, 8, 128, "bfloat16"), Geometry(8, 8, 128, "float16"), Geometry(16, 8, 64, "bfloat16"))
PROMPT_TOKENS = 1024

Speed = tuple[float, float]
"""GB of 16-bit KV a second: encoded, decoded."""


def cpu_speeds() -> Iterator[tuple[str, str, Speed, Speed, Speed]]:
    """Geometry, codec; the reference's speed, the compiled loops', and theirs with frames: headers, CRCs, copies."""
    torch.set_num_threads(1)
    compiled.warm_up()
    for geometry in SHAPES:
        for name, parts in SPLITS.items():
            tiles = partial(_tile_speed, geometry, parts)
            framed = _frame_speed(KvFormat(geometry, PROMPT_TOKENS, Codec(name), 0))
            yield f"{geometry.dtype}, {geometry.head_dim} a head", name, tiles(reference), tiles(compiled), framed


def _tile_speed(geometry: Geometry, parts: Parts, codec: TileCodec) -> Speed:
    keys, values = _made_up((CPU_TILES, GROUP_TOKENS, geometry.head_dim), geometry.dtype)
    payload = codec.encode_tiles(geometry, parts, keys, values)
    encoding_s = _cpu_s(lambda: codec.encode_tiles(geometry, parts, keys, values))
    decoding_s = _cpu_s(lambda: codec.decode_tiles(geometry, parts, payload))
    return _speeds(2 * keys.nbytes, encoding_s, decoding_s)


def _frame_speed(kv_format: KvFormat) -> Speed:
    geometry, layout = kv_format.geometry, Layout(kv_format, kv_format.whole)
    shape = (geometry.layers, geometry.kv_heads, kv_format.tokens, geometry.head_dim)
    keys, values = _made_up(shape, geometry.dtype)
    region, batches = memoryview(bytearray(layout.size)), list(rows_of(layout, kv_format.whole))
    places = [(rows, slice(*rows.box.layers), region[rows.offset : rows.offset + rows.size]) for rows in batches]

    def encode_all() -> None:
        for rows, layers, place in places:
            encode(rows, keys[layers], values[layers], place, TAG, compiled)

    def decode_all() -> None:
        for rows, _, place in places:
            decode(rows, place, TAG, compiled)

    return _speeds(2 * keys.nbytes, _cpu_s(encode_all), _cpu_s(decode_all))


def gpu_speeds() -> Iterator[tuple[str, str, float, Speed]]:
    """Geometry, codec, the device's own copy in GB/s read and written, and the kernels' in the same."""
    from runtime.codec import on_gpu

    for geometry in SHAPES:
        keys, values = (part.cuda() for part in _made_up((GPU_TILES, GROUP_TOKENS, geometry.head_dim), geometry.dtype))
        target = torch.empty_like(keys)
        copied = 2 * keys.nbytes / _gpu_s(lambda keys=keys, target=target: target.copy_(keys)) / GIGABYTE
        for name in ("int8", "int4"):
            work = geometry, SPLITS[name]
            payload = on_gpu.encode_tiles(*work, keys, values)
            moved = 2 * keys.nbytes + payload.nbytes
            encoding_s = _gpu_s(partial(on_gpu.encode_tiles, *work, keys, values))
            decoding_s = _gpu_s(partial(on_gpu.decode_tiles, *work, payload))
            yield f"{geometry.dtype}, {geometry.head_dim} a head", name, copied, _speeds(moved, encoding_s, decoding_s)


def _made_up(shape: tuple[int, ...], dtype: str) -> tuple[Tensor, Tensor]:
    keys, values = torch.randn(2, *shape).to(TORCH_DTYPE[dtype])
    return keys, values


def _speeds(moved_bytes: int, encoding_s: float, decoding_s: float) -> Speed:
    return moved_bytes / encoding_s / GIGABYTE, moved_bytes / decoding_s / GIGABYTE


def _cpu_s(work: Callable[[], object]) -> float:
    """CPU time of this thread, median, after one that is not counted."""
    work()
    taken = []
    for _ in range(REPEATS):
        started = time.thread_time()
        work()
        taken.append(time.thread_time() - started)
    return statistics.median(taken)


def _gpu_s(work: Callable[[], object]) -> float:
    """By the device's own clock, median, after one that is not counted."""
    work()
    taken = []
    for _ in range(REPEATS):
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begun.record()
        work()
        ended.record()
        torch.cuda.synchronize()
        taken.append(begun.elapsed_time(ended) / 1e3)
    return statistics.median(taken)
