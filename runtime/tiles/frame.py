"""Frames: a 32-byte header around the payload of a tile, and whether one arrived undamaged and is the one asked for."""

import struct
import zlib

from planner.errors import KvTransferError

FRAME_VERSION = 1
HEADER = struct.Struct("<4sBBHHHII8sI")
"""magic, version, codec, tokens, layer, head, group, payload bytes, transfer tag, CRC32 of all that and the payload."""
PREFIX = struct.Struct("<4sBBHHHII8s")
"""The same up to the CRC32."""
GROUP_AT = struct.calcsize("<4sBBHHH")
"""Where the group's number lies."""
MAGIC = b"THKV"
TAG_BYTES = 8


class BadFrame(KvTransferError):
    """A tile arrived damaged, or is not the one that was asked for."""


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


def _checksum(frame: memoryview, prefix: bytes) -> bytes:
    return struct.pack("<I", zlib.crc32(frame[HEADER.size :], zlib.crc32(prefix)))
