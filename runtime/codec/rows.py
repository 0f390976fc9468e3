"""Frames of many tiles at once, as they lie in a layout: K and V of some layers to sealed frames and back.

What a codec takes is mostly a fixed time for each of its operations, beside which it lets go of the interpreter, as
long as tiles are few. So layers that are encoded alike go through together, up to `BATCH_BYTES`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise, starmap
from typing import Self

import torch
from torch import Tensor

from runtime.codec import reference
from runtime.codec.protocol import TileCodec
from runtime.tiles.box import Box, Tile
from runtime.tiles.format import KvFormat, Segment
from runtime.tiles.frame import HEADER, check, seal
from runtime.tiles.geometry import GROUP_TOKENS
from runtime.tiles.layout import Layout

BATCH_BYTES = 4 << 20
"""Of KV as the cache holds it: from here on the work in an operation is far longer than what it takes besides."""
GPU_BATCH_BYTES = 64 << 20
"""The same on a GPU, which takes microseconds for what a CPU takes milliseconds for; it must hold so much besides."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Frames of a box of tiles whose layers are all encoded alike, as they lie in a layout.

    Bytes: the first frame lies at `offset`, each head's row of frames takes `row_bytes`, the next one begins
    `row_stride` behind it, and a layer `layer_stride` behind the one before. Runs of equal frames are `segments`, each
    with its place in a row.
    """

    format: KvFormat
    box: Box
    offset: int
    row_bytes: int
    row_stride: int
    layer_stride: int
    segments: tuple[tuple[Segment, slice], ...]

    @classmethod
    def of(cls, layout: Layout, box: Box) -> Self:
        segments = tuple(layout.format.segments(box.layers[0], box.groups))
        lengths = [segment.groups * segment.frame_bytes for segment in segments]
        ends = [0, *accumulate(lengths)]
        return cls(
            layout.format,
            box,
            offset=layout.offset(Tile(box.layers[0], box.heads[0], box.groups[0])),
            row_bytes=ends[-1],
            row_stride=layout.row_bytes(box.layers[0]),
            layer_stride=layout.row_bytes(box.layers[0]) * (layout.box.heads[1] - layout.box.heads[0]),
            segments=tuple(zip(segments, starmap(slice, pairwise(ends)), strict=True)),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Layers and heads."""
        return self.box.layers[1] - self.box.layers[0], self.box.heads[1] - self.box.heads[0]

    @property
    def size(self) -> int:
        """Bytes from the first frame to the end of the last one, others' between them included."""
        layers, heads = self.shape
        return (layers - 1) * self.layer_stride + (heads - 1) * self.row_stride + self.row_bytes


def rows_of(layout: Layout, box: Box, batch_bytes: int = BATCH_BYTES) -> Iterator[Rows]:
    """A box of a layout, layers encoded alike together, up to so many bytes of KV at once or a layer."""
    geometry, tokens = layout.format.geometry, (box.groups[1] - box.groups[0]) * GROUP_TOKENS
    layer_bytes = 2 * (box.heads[1] - box.heads[0]) * tokens * geometry.head_dim * geometry.value_bytes
    most = max(1, batch_bytes // layer_bytes)
    for first, stop in layout.format.alike(box.layers):
        for start in range(first, stop, most):
            yield Rows.of(layout, replace(box, layers=(start, min(stop, start + most))))


def encode(
    rows: Rows, keys: Tensor, values: Tensor, into: memoryview, tag: bytes, codec: TileCodec = reference
) -> None:
    """Write the sealed frames of K and V, each `[layers, heads, tokens, channels]`. Raises CannotEncode."""
    frame(rows, payloads(rows, keys, values, codec), into, tag)


def payloads(rows: Rows, keys: Tensor, values: Tensor, codec: TileCodec = reference) -> list[Tensor]:
    """What the frames of each segment will hold, `[tiles, bytes]`, where K and V are: on a GPU, or in memory."""
    first, made = rows.box.groups[0] * GROUP_TOKENS, []
    for segment, _ in rows.segments:
        start, tokens = segment.first_group * GROUP_TOKENS - first, sum(segment.parts)
        tiles = [
            part[:, :, start : start + segment.groups * tokens].reshape(-1, tokens, part.shape[-1])
            for part in (keys, values)
        ]
        made.append(codec.encode_tiles(rows.format.geometry, segment.parts, *tiles))
    return made


def frame(rows: Rows, encoded: Sequence[Tensor], into: memoryview, tag: bytes) -> None:
    """Put payloads into their frames, and seal these."""
    for places, payload in zip(_places(rows, into), encoded, strict=True):
        places.copy_(payload.view(places.shape))
    for prefix, place in _named(rows, into, tag):
        seal(place, prefix)


def decode(
    rows: Rows, data: memoryview, tag: bytes, codec: TileCodec = reference, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """K and V, each `[layers, heads, tokens of the groups, channels]`, of frames that are all checked. BadFrame."""
    for prefix, place in _named(rows, data, tag):
        check(place, prefix)
    found = []
    for (segment, _), places in zip(rows.segments, _places(rows, data), strict=True):
        payload = places.flatten(0, 2).to(device)
        tiles = codec.decode_tiles(rows.format.geometry, segment.parts, payload)
        found.append([part.reshape(*rows.shape, -1, part.shape[-1]) for part in tiles])
    keys, values = (parts[0] if len(parts) == 1 else torch.cat(parts, dim=2) for parts in zip(*found, strict=True))
    return keys, values


def _places(rows: Rows, data: memoryview) -> Iterator[Tensor]:
    """Where the payloads of each segment lie, `[layers, heads, groups, bytes]`."""
    flat = torch.frombuffer(data, dtype=torch.uint8, count=rows.size)
    frames = flat.as_strided((*rows.shape, rows.row_bytes), (rows.layer_stride, rows.row_stride, 1))
    for segment, window in rows.segments:
        yield frames[:, :, window].unflatten(2, (segment.groups, -1))[..., HEADER.size :]


def _named(rows: Rows, data: memoryview, tag: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Every frame with the header that it must have."""
    for i, layer in enumerate(range(*rows.box.layers)):
        for j, head in enumerate(range(*rows.box.heads)):
            at = i * rows.layer_stride + j * rows.row_stride
            for segment, _ in rows.segments:
                for group in range(segment.first_group, segment.first_group + segment.groups):
                    yield rows.format.prefix(Tile(layer, head, group), tag), data[at : at + segment.frame_bytes]
                    at += segment.frame_bytes
