"""Tiles by name, (layer, KV head, 64 tokens) each, and boxes of them: what one rank owns of a ticket."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

from planner.errors import KvTransferError


class Tile(NamedTuple):
    """The name of a tile: global layer, global KV head, 64-token group."""

    layer: int
    head: int
    group: int


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
