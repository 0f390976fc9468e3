"""Tiles: KV on the wire, (layer, KV head, 64 tokens) each, and where every one of them lies.

The size of an encoded tile follows from the format alone (codec, boundary layer or not, group, token count). So the
offset of every tile in a region or a stream is computed on both sides and never exchanged: no length that arrives on a
socket is ever believed, and a tile that was damaged does not cost its neighbours.

A frame is a 32-byte header and a payload. The payload holds K then V of the tile's tokens, in up to two parts:
first the tokens in `int8`, then those in `int4` (or all of them raw). For the parts' insides see
`runtime/codec/reference.py`.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise
from typing import NamedTuple, Self

from planner.deployment import Codec
from planner.errors import KvTransferError

GROUP_TOKENS = 64
SINK_TOKENS = 16
"""The first tokens of a prompt draw attention far beyond their share, so `int4` keeps them in `int8`."""

FRAME_VERSION = 1
HEADER = struct.Struct("<4sBBHHHII8sI")
"""magic, version, codec, tokens, layer, head, group, payload bytes, transfer tag, CRC32 of all that and the payload."""

TAG_BYTES = 8
VALUE_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}
LIMIT_SHAPE = 1024
LIMIT_TOKENS = 1 << 21

_MAGIC = b"THKV"
_CODEC_NUMBER = {Codec.RAW: 0, Codec.INT8: 1, Codec.INT4: 2}
_SCALE_BYTES = 4  # a scale and a minimum, fp16 each
_PREFIX = struct.Struct("<4sBBHHHII8s")


class BadFrame(KvTransferError):
    """A tile arrived damaged, or is not the one that was asked for."""


class Tile(NamedTuple):
    """The name of a tile: global layer, global KV head, 64-token group."""

    layer: int
    head: int
    group: int


class Parts(NamedTuple):
    """How many of a tile's tokens are kept in each encoding, in the order of the payload."""

    raw: int
    int8: int
    int4: int


class Segment(NamedTuple):
    """Consecutive groups of one head whose frames are alike."""

    first_group: int
    groups: int
    parts: Parts
    frame_bytes: int


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


@dataclass(frozen=True, slots=True)
class KvFormat:
    """Everything that the size and place of a ticket's tiles follow from.

    The first and last `boundary_layers` layers of an `int4` ticket are `int8`: errors there cost the most.
    """

    geometry: Geometry
    tokens: int
    codec: Codec
    boundary_layers: int = 2

    def __post_init__(self) -> None:
        if self.codec not in _CODEC_NUMBER:
            raise KvTransferError(f"KV can't cross with codec {self.codec}; expected raw, int8 or int4.")
        if not 1 <= self.tokens <= LIMIT_TOKENS:
            raise KvTransferError(f"A ticket covers {self.tokens} tokens; expected 1 to {LIMIT_TOKENS}.")
        if not 0 <= self.boundary_layers <= self.geometry.layers:
            raise KvTransferError(
                f"A ticket has {self.boundary_layers} boundary layers; expected 0 to {self.geometry.layers}."
            )

    @property
    def groups(self) -> int:
        return -(-self.tokens // GROUP_TOKENS)

    @property
    def whole(self) -> "Box":
        return Box((0, self.geometry.layers), (0, self.geometry.kv_heads), (0, self.groups))

    def tokens_in(self, group: int) -> int:
        return min(GROUP_TOKENS, self.tokens - group * GROUP_TOKENS)

    def layer_codec(self, layer: int) -> Codec:
        edge = layer < self.boundary_layers or layer >= self.geometry.layers - self.boundary_layers
        return Codec.INT8 if edge and self.codec is Codec.INT4 else self.codec

    def parts(self, layer: int, group: int) -> Parts:
        """A tail group of fewer than 64 tokens stays in `int8`, as do the first 16 tokens of all."""
        tokens = self.tokens_in(group)
        match self.layer_codec(layer):
            case Codec.RAW:
                return Parts(tokens, 0, 0)
            case Codec.INT4 if tokens == GROUP_TOKENS:
                sinks = SINK_TOKENS if group == 0 else 0
                return Parts(0, sinks, tokens - sinks)
            case _:
                return Parts(0, tokens, 0)

    def payload_bytes(self, layer: int, group: int) -> int:
        return payload_bytes(self.geometry, self.parts(layer, group))

    def frame_bytes(self, layer: int, group: int) -> int:
        return HEADER.size + self.payload_bytes(layer, group)

    def segments(self, layer: int, groups: tuple[int, int]) -> Iterator[Segment]:
        """A range of groups as runs of equal frames: only the first and the last group may differ from the rest."""
        first, stop = groups
        differ = (cut for cut in sorted({1, self.groups - 1}) if first < cut < stop)
        cuts = (cut for cut in differ if self.parts(layer, cut - 1) != self.parts(layer, cut))
        for start, end in pairwise((first, *cuts, stop)):
            if start < end:
                yield Segment(start, end - start, self.parts(layer, start), self.frame_bytes(layer, start))

    def alike(self, layers: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """A range of layers as runs of equally encoded ones."""
        for _, run in groupby(range(*layers), self.layer_codec):
            first, *rest = run
            yield first, first + 1 + len(rest)

    def span_bytes(self, layer: int, groups: tuple[int, int]) -> int:
        """Bytes of one head's frames over a range of groups."""
        return sum(segment.groups * segment.frame_bytes for segment in self.segments(layer, groups))

    def prefix(self, tile: Tile, tag: bytes) -> bytes:
        """The header of a tile up to its checksum: all of it is known before it arrives."""
        return _PREFIX.pack(
            _MAGIC,
            FRAME_VERSION,
            _CODEC_NUMBER[self.layer_codec(tile.layer)],
            self.tokens_in(tile.group),
            tile.layer,
            tile.head,
            tile.group,
            self.payload_bytes(tile.layer, tile.group),
            tag,
        )

    def prefixes(self, layer: int, head: int, segment: Segment, tag: bytes) -> Iterator[tuple[Tile, bytes]]:
        """The tiles of a segment, each with its prefix; what they have in common is worked out once."""
        codec, tokens = _CODEC_NUMBER[self.layer_codec(layer)], sum(segment.parts)
        payload = segment.frame_bytes - HEADER.size
        for group in range(segment.first_group, segment.first_group + segment.groups):
            tile = Tile(layer, head, group)
            yield tile, _PREFIX.pack(_MAGIC, FRAME_VERSION, codec, tokens, *tile, payload, tag)


@dataclass(frozen=True, slots=True)
class Box:
    """Tiles by ranges (first, stop) of layers, heads and groups: what one rank owns of a ticket."""

    layers: tuple[int, int]
    heads: tuple[int, int]
    groups: tuple[int, int]

    @classmethod
    def from_row(cls, row: object) -> Self:
        """Six whole numbers off a socket: layers, heads, groups. Raises KvTransferError."""
        if not (isinstance(row, list) and len(row) == 6 and all(type(number) is int for number in row)):
            raise KvTransferError(f"A box of tiles is {row!r:.80}; expected six whole numbers.")
        return cls((row[0], row[1]), (row[2], row[3]), (row[4], row[5]))

    @property
    def row(self) -> list[int]:
        return [*self.layers, *self.heads, *self.groups]

    def tiles(self) -> Iterator[Tile]:
        """In canonical order."""
        for layer in range(*self.layers):
            for head in range(*self.heads):
                for group in range(*self.groups):
                    yield Tile(layer, head, group)

    def within(self, other: "Box") -> bool:
        """Whether it is not empty and lies in `other`."""
        mine, theirs = (self.layers, self.heads, self.groups), (other.layers, other.heads, other.groups)
        return all(low <= first < stop <= high for (first, stop), (low, high) in zip(mine, theirs, strict=True))


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the tiles of a box lie when they are laid end to end in canonical order."""

    format: KvFormat
    box: Box

    def __post_init__(self) -> None:
        if not self.box.within(self.format.whole):
            raise KvTransferError(f"Tiles {self.box} were asked for; the ticket has {self.format.whole}.")

    def row_bytes(self, layer: int) -> int:
        """Bytes of one head of a layer."""
        return self.format.span_bytes(layer, self.box.groups)

    def layer_offset(self, layer: int) -> int:
        heads = self.box.heads[1] - self.box.heads[0]
        return heads * sum(self.row_bytes(earlier) for earlier in range(self.box.layers[0], layer))

    @property
    def size(self) -> int:
        return self.layer_offset(self.box.layers[1])

    def offset(self, tile: Tile) -> int:
        """Bytes from the start of the box to the tile's frame."""
        rows = (tile.head - self.box.heads[0]) * self.row_bytes(tile.layer)
        return (
            self.layer_offset(tile.layer) + rows + self.format.span_bytes(tile.layer, (self.box.groups[0], tile.group))
        )

    def runs(self, box: Box) -> Iterator[tuple[int, int]]:
        """The bytes of the tiles of a smaller box, as (offset, length) of the longest contiguous runs."""
        start = end = self.offset(Tile(box.layers[0], box.heads[0], box.groups[0]))
        for _, _, offset, length in self.rows(box):
            if offset != end:
                yield start, end - start
                start = offset
            end = offset + length
        yield start, end - start

    def rows(self, box: Box) -> Iterator[tuple[int, int, int, int]]:
        """Layer, head, offset and length of each head's tiles of a smaller box; layers are added up as they pass."""
        heads, begins = self.box.heads[1] - self.box.heads[0], self.layer_offset(box.layers[0])
        for layer in range(*box.layers):
            row_bytes, length = self.row_bytes(layer), self.format.span_bytes(layer, box.groups)
            before = self.format.span_bytes(layer, (self.box.groups[0], box.groups[0]))
            for head in range(*box.heads):
                yield layer, head, begins + (head - self.box.heads[0]) * row_bytes + before, length
            begins += heads * row_bytes

    def frames(self) -> Iterator[tuple[Tile, int, int]]:
        """Every tile in canonical order with its frame's offset and length."""
        offset = 0
        for tile in self.box.tiles():
            length = self.format.frame_bytes(tile.layer, tile.group)
            yield tile, offset, length
            offset += length


@lru_cache(maxsize=256)
def payload_bytes(geometry: Geometry, parts: Parts) -> int:
    """K and V together. Per token in `int8`; K per channel and V per token in `int4`."""
    dim = geometry.head_dim
    total = 2 * parts.raw * dim * geometry.value_bytes
    total += 2 * parts.int8 * (dim + dim // geometry.int8_channels * _SCALE_BYTES)
    if parts.int4:
        total += parts.int4 * dim + dim * _SCALE_BYTES + parts.int4 * (dim // geometry.int4_channels) * _SCALE_BYTES
    return total


def seal(frame: memoryview, prefix: bytes) -> None:
    """Write the header of a frame whose payload is in place."""
    frame[: len(prefix)] = prefix
    frame[len(prefix) : HEADER.size] = _checksum(frame, prefix)


def check(frame: memoryview, prefix: bytes) -> None:
    """Raise BadFrame unless this is the frame with that header, undamaged."""
    if frame[: len(prefix)] != prefix:
        raise BadFrame("A tile's header is not the one expected of it.")
    if frame[len(prefix) : HEADER.size] != _checksum(frame, prefix):
        raise BadFrame("A tile's checksum does not match its bytes.")


def largest_divisor(number: int, limit: int) -> int:
    return next(divisor for divisor in range(min(number, limit), 0, -1) if number % divisor == 0)


def _checksum(frame: memoryview, prefix: bytes) -> bytes:
    return struct.pack("<I", zlib.crc32(frame[HEADER.size :], zlib.crc32(prefix)))
