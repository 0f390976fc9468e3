"""Where the numbers of an encoded tile lie in its payload: what every implementation but the reference walks over."""

from collections.abc import Iterator
from typing import NamedTuple

from runtime.tiles.geometry import Geometry, Parts

SCALE_BYTES = 2
"""A scale or a minimum is fp16."""


class Section(NamedTuple):
    """Consecutive tokens of K or of V of a tile in one encoding: codes, then scales, then minima, from byte `at` on.

    A scale is shared by `groups` equal runs of a token's channels each; where `groups` is 0, by all of the section's
    tokens of one channel. `levels` is the largest code: 255 takes a byte, 15 half of one.
    """

    of_keys: bool
    first_token: int
    tokens: int
    channels: int
    groups: int
    levels: int
    at: int

    @property
    def code_bytes(self) -> int:
        """Of one token."""
        return self.channels if self.levels == 255 else self.channels // 2

    @property
    def scales(self) -> int:
        return self.tokens * self.groups or self.channels

    @property
    def scales_at(self) -> int:
        return self.at + self.tokens * self.code_bytes

    @property
    def minima_at(self) -> int:
        return self.scales_at + self.scales * SCALE_BYTES

    @property
    def end(self) -> int:
        return self.minima_at + self.scales * SCALE_BYTES


def sections(geometry: Geometry, parts: Parts) -> Iterator[Section]:
    """Those of one tile in the order of its payload; none where it is raw."""
    at, dim = 0, geometry.head_dim
    by_token, by_block = dim // geometry.int8_channels, dim // geometry.int4_channels
    wanted = [
        (0, parts.int8, 255, by_token, by_token),
        (parts.int8, parts.int4, 15, 0, by_block),
    ]
    for first, tokens, levels, key_groups, value_groups in wanted:
        for of_keys, groups in ((True, key_groups), (False, value_groups)):
            if tokens:
                section = Section(of_keys, first, tokens, dim, groups, levels, at)
                yield section
                at = section.end
