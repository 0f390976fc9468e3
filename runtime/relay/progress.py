"""How far a ticket is encoded, and the pieces in which its tiles leave: each as much as is there, every tile once.

A rank encodes a prompt as it is computed, some groups of some layers at a time, so that tiles are ready in an order
that nobody knows beforehand. A reader asks for boxes of tiles, and gets each of them in pieces that say which part of
it follows.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, Self

from planner.errors import KvTransferError
from runtime.tiles.box import Box
from runtime.tiles.format import KvFormat
from runtime.tiles.frame import BadFrame

_PIECE = struct.Struct(">HHHII")
PIECE_BYTES = _PIECE.size


class Piece(NamedTuple):
    """Of the box with that number: ranges (first, stop) of its layers and groups, with all of its heads."""

    box: int
    layers: tuple[int, int]
    groups: tuple[int, int]

    @classmethod
    def from_bytes(cls, data: bytes | bytearray) -> Self:
        number, first_layer, stop_layer, first_group, stop_group = _PIECE.unpack(data)
        return cls(number, (first_layer, stop_layer), (first_group, stop_group))

    @property
    def bytes(self) -> bytes:
        return _PIECE.pack(self.box, *self.layers, *self.groups)


class Progress:
    """How many groups of each layer and KV head are encoded, from the first one on."""

    def __init__(self, kv_format: KvFormat) -> None:
        self._whole = kv_format.whole
        self._groups = [[0] * kv_format.geometry.kv_heads for _ in range(kv_format.geometry.layers)]

    def add(self, box: Box) -> None:
        """These tiles are there. Raises KvTransferError unless they come next in each of their rows."""
        if not box.within(self._whole):
            raise KvTransferError(f"Tiles {box} were encoded; the ticket has {self._whole}.")
        rows = [self._groups[layer] for layer in range(*box.layers)]
        if any(row[head] != box.groups[0] for row in rows for head in range(*box.heads)):
            raise KvTransferError(f"Tiles {box} were encoded out of turn.")
        for row in rows:
            row[slice(*box.heads)] = [box.groups[1]] * (box.heads[1] - box.heads[0])

    def finish(self) -> None:
        """Every rank says that it is done."""
        for row in self._groups:
            row[:] = [self._whole.groups[1]] * len(row)

    @property
    def begun(self) -> bool:
        return any(map(any, self._groups))

    def ready(self, layer: int, heads: tuple[int, int]) -> int:
        """Groups that all of these heads have."""
        return min(self._groups[layer][slice(*heads)])


class Pieces:
    """What of some boxes has gone, or come: of each layer of a box, the groups up to one."""

    def __init__(self, boxes: Sequence[Box]) -> None:
        self._boxes = boxes
        self._stops = [[box.groups[0]] * (box.layers[1] - box.layers[0]) for box in boxes]

    def due(self, progress: Progress) -> Iterator[Piece]:
        """What is there and has not gone, neighbouring layers together. It counts as gone."""
        for number, box in enumerate(self._boxes):
            for layers, groups in self._due_of(box, self._stops[number], progress):
                yield self._gone(Piece(number, layers, groups))

    def take(self, piece: Piece) -> Box:
        """The tiles of a piece that comes, which must be the next of its rows. Raises BadFrame."""
        if piece.box < len(self._boxes):
            box, (first, stop) = self._boxes[piece.box], piece.groups
            taken = Box(piece.layers, box.heads, piece.groups)
            stops = self._stops[piece.box][piece.layers[0] - box.layers[0] : piece.layers[1] - box.layers[0]]
            if taken.within(box) and all(last == first for last in stops) and first < stop:
                self._gone(piece)
                return taken
        raise BadFrame(f"{piece} came, which was not asked for.")

    @property
    def left(self) -> Iterator[Box]:
        """What has not come."""
        for box, stops in zip(self._boxes, self._stops, strict=True):
            for layer, stop in enumerate(stops, start=box.layers[0]):
                if stop < box.groups[1]:
                    yield Box((layer, layer + 1), box.heads, (stop, box.groups[1]))

    @property
    def done(self) -> bool:
        return next(self.left, None) is None

    def _due_of(
        self, box: Box, stops: Sequence[int], progress: Progress
    ) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        """Layers and groups."""
        ready = [min(progress.ready(layer, box.heads), box.groups[1]) for layer in range(*box.layers)]
        found, layer = [], box.layers[0]
        for (first, stop), run in groupby(zip(stops, ready, strict=True)):
            after = layer + len(list(run))
            if first < stop:
                found.append(((layer, after), (first, stop)))
            layer = after
        return found

    def _gone(self, piece: Piece) -> Piece:
        begins = self._boxes[piece.box].layers[0]
        count = piece.layers[1] - piece.layers[0]
        self._stops[piece.box][piece.layers[0] - begins : piece.layers[1] - begins] = [piece.groups[1]] * count
        return piece
