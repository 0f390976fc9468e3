"""Where the tiles of a box lie when they are laid end to end."""

from collections.abc import Iterator
from dataclasses import dataclass

from planner.errors import KvTransferError
from runtime.tiles.box import Box, Tile
from runtime.tiles.format import KvFormat


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
