"""What a hop of the shipped model's KV takes an engine, part by part, on one thread; prints it as JSON.

python -m benchmarks.kv_crossover_parts TOKENS..., by the engine environment's python: for each codec and length the
milliseconds of CPU time of copying KV out, encoding it, sealing its frames, and of the way back.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch

from planner.deployment import Codec
from runtime.codec.choice import quickest
from runtime.codec.protocol import TileCodec
from runtime.codec.rows import Rows, decode, frame, payloads, rows_of
from runtime.connector.layouts import page_layout, read, write
from runtime.tiles.format import KvFormat
from runtime.tiles.geometry import Geometry
from runtime.tiles.layout import Layout

GEOMETRY = Geometry(8, 2, 64, "float16")
SLOTS, SPARE_BLOCKS, REPEATS = 128, 64, 9
TAG = bytes(8)
PAGES = page_layout("CPU_ATTN", "vec16")


def main(lengths: list[int]) -> None:
    torch.set_num_threads(1)
    codec = quickest(GEOMETRY, torch.device("cpu"))
    shape = (SPARE_BLOCKS, GEOMETRY.kv_heads, SLOTS, 2 * GEOMETRY.head_dim)
    caches = [torch.randn(shape).half() for _ in range(GEOMETRY.layers)]
    found = {
        f"{name} {tokens}": _parts(KvFormat(GEOMETRY, tokens, name), caches, codec)
        for name in (Codec.RAW, Codec.INT8, Codec.INT4)
        for tokens in lengths
    }
    print(json.dumps(found))


def _parts(kv_format: KvFormat, caches: list[torch.Tensor], codec: TileCodec) -> dict[str, float]:
    """Milliseconds by part, medians; as `runtime/connector/worker.py` does them."""
    layout = Layout(kv_format, kv_format.whole)
    batches = list(rows_of(layout, kv_format.whole))
    blocks = torch.randperm(SPARE_BLOCKS)[: -(-kv_format.tokens // SLOTS)]
    region = memoryview(bytearray(layout.size))

    def of(rows: Rows) -> list[torch.Tensor]:
        return [caches[layer] for layer in range(*rows.box.layers)]

    def place(rows: Rows) -> memoryview:
        return region[rows.offset : rows.offset + rows.size]

    copied = [read(PAGES, of(rows), blocks, kv_format.tokens) for rows in batches]
    encoded = [payloads(rows, *kv, codec) for rows, kv in zip(batches, copied, strict=True)]
    for rows, tiles in zip(batches, encoded, strict=True):
        frame(rows, tiles, place(rows), TAG)
    decoded = [decode(rows, place(rows), TAG, codec) for rows in batches]

    def seal() -> None:
        for rows, tiles in zip(batches, encoded, strict=True):
            frame(rows, tiles, place(rows), TAG)

    def copy_in() -> None:
        for rows, kv in zip(batches, decoded, strict=True):
            write(PAGES, of(rows), blocks, *kv)

    return {
        "copy out": _ms(lambda: [read(PAGES, of(rows), blocks, kv_format.tokens) for rows in batches]),
        "encode": _ms(lambda: [payloads(rows, *kv, codec) for rows, kv in zip(batches, copied, strict=True)]),
        "seal": _ms(seal),
        "take over": _ms(lambda: bytearray(region)),
        "check, decode": _ms(lambda: [decode(rows, place(rows), TAG, codec) for rows in batches]),
        "copy in": _ms(copy_in),
    }


def _ms(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(REPEATS):
        started = time.thread_time()
        work()
        taken.append((time.thread_time() - started) * 1e3)
    return statistics.median(taken)


if __name__ == "__main__":
    main([int(tokens) for tokens in sys.argv[1:]])
