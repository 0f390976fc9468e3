"""The sizes of KV on the wire follow from the format alone: codec, boundary layer or not, group, token count.

So the offset of every tile in a region or a stream is computed on both sides and never exchanged: no length that
arrives on a socket is ever believed, and a tile that was damaged does not cost its neighbours.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import NamedTuple

from planner.deployment import Codec
from planner.errors import KvTransferError
from runtime.tiles.box import Box, Tile
from runtime.tiles.frame import FRAME_VERSION, HEADER, MAGIC, PREFIX
from runtime.tiles.geometry import GROUP_TOKENS, Geometry, Parts, payload_bytes

SINK_TOKENS = 16
"""The first tokens of a prompt draw attention far beyond their share, so `int4` keeps them in `int8`."""
LIMIT_TOKENS = 1 << 21

_CODEC_NUMBER = {Codec.RAW: 0, Codec.INT8: 1, Codec.INT4: 2}


class Segment(NamedTuple):
    """Consecutive groups of one head whose frames are alike."""

    first_group: int
    groups: int
    parts: Parts
    frame_bytes: int


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
    def whole(self) -> Box:
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
        return PREFIX.pack(
            MAGIC,
            FRAME_VERSION,
            _CODEC_NUMBER[self.layer_codec(tile.layer)],
            self.tokens_in(tile.group),
            tile.layer,
            tile.head,
            tile.group,
            self.payload_bytes(tile.layer, tile.group),
            tag,
        )
