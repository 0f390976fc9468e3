"""Whether many frames that lie end to end arrived undamaged, at a third of the cost of a checksum each.

A CRC is linear: of messages of one length, the checksum of their exclusive or follows from the checksums of each. So
equal frames are folded into one, whose one checksum tells. Two frames that were damaged alike, in the same places and
the same bits, hide each other; whoever decodes checks every frame by itself.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from runtime.tiles.frame import GROUP_AT, HEADER, PREFIX, BadFrame, check

Frames = NDArray[np.uint8]
"""`[frames, bytes]`."""


def damaged(data: memoryview, prefix: bytes, count: int) -> list[int]:
    """Which of `count` equal frames of consecutive groups are not what they must be; `prefix` is the first one's."""
    if not count:
        return []
    frames = np.frombuffer(data, np.uint8).reshape(count, -1)
    prefixes = _prefixes(prefix, count)
    if (frames[:, : PREFIX.size] == prefixes).all() and _is_sound(frames):
        return []
    length = len(data) // count
    return [i for i in range(count) if _is_bad(data[i * length : (i + 1) * length], prefixes[i].tobytes())]


def _prefixes(first: bytes, count: int) -> Frames:
    """Headers up to the checksum, which differ in the group alone."""
    prefixes = np.tile(np.frombuffer(first, np.uint8), (count, 1))
    groups = prefixes[:, GROUP_AT : GROUP_AT + 4].copy().view("<u4") + np.arange(count, dtype="<u4")[:, None]
    prefixes[:, GROUP_AT : GROUP_AT + 4] = groups.view(np.uint8)
    return prefixes


def _is_sound(frames: Frames) -> bool:
    """An even number of frames is made odd by one of zeros, which changes no fold."""
    folded = np.bitwise_xor.reduce(frames, axis=0)
    checksum = zlib.crc32(folded[HEADER.size :], zlib.crc32(folded[: PREFIX.size]))
    if len(frames) % 2 == 0:
        checksum ^= zlib.crc32(bytes(len(folded) - HEADER.size + PREFIX.size))
    return int.from_bytes(folded[PREFIX.size : HEADER.size].tobytes(), "little") == checksum


def _is_bad(frame: memoryview, prefix: bytes) -> bool:
    try:
        check(frame, prefix)
    except BadFrame:
        return True
    return False
