"""What ties KV to the computation that made it: the model's weights, the cache's shape, the token ids.

KV of another prompt or of another fine-tune has the same shape and would be answered as HTTP 200. So a ticket carries
a hash over all three, and the decode engine compares it with its own before it attaches anything.
"""

import hashlib
import json
import os
import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runtime.tiles.geometry import Geometry

EDGE_BYTES = 4096
SAMPLES = 16
SAMPLE_BYTES = 65536
HEADER_LENGTH = struct.Struct("<Q")
_IGNORED = ("transformers_version", "torch_dtype", "dtype", "_name_or_path")


def model_fingerprint(model: str, settings: Mapping[str, Any] | None = None) -> str:
    """Names weights and configuration, the same on every host. `model` is a folder, or else a name taken as it is.

    `settings` are the configuration as the engine has it, its overrides applied: RoPE's say as much as weights do.
    Of weights their table is read and both ends of every tensor, not all: any training moves each of them, and it is
    milliseconds where a full hash of 100 GB would take minutes.
    """
    folder, digest = Path(model), hashlib.sha256(_text_of(settings or {}))
    if not folder.is_dir():
        digest.update(f"name:{model}".encode())
        return digest.hexdigest()
    config = folder / "config.json"
    if config.is_file():
        digest.update(_text_of(json.loads(config.read_bytes())))
    tables = sorted(folder.glob("*.safetensors"))
    for path in tables or sorted(folder.glob("*.bin")):
        digest.update(f"{path.name}:{path.stat().st_size}".encode())
        for part in _edges(path) if tables else _samples(path):
            digest.update(part)
    return digest.hexdigest()


def _edges(path: Path) -> Iterator[bytes]:
    """The table of a safetensors file, and the first and last `EDGE_BYTES` of each of its tensors, in their order."""
    with path.open("rb") as file:
        (length,) = HEADER_LENGTH.unpack(file.read(HEADER_LENGTH.size))
        table = file.read(length)
        yield table
        start = HEADER_LENGTH.size + length
        spans = [entry["data_offsets"] for name, entry in json.loads(table).items() if name != "__metadata__"]
        for first, stop in sorted(spans):
            yield os.pread(file.fileno(), min(EDGE_BYTES, stop - first), start + first)
            yield os.pread(file.fileno(), min(EDGE_BYTES, stop - first), start + max(first, stop - EDGE_BYTES))


def _samples(path: Path) -> Iterator[bytes]:
    """Stretches of a file that says nothing of what it holds, its ends among them."""
    size = path.stat().st_size
    with path.open("rb") as file:
        for sample in range(SAMPLES + 1):
            yield os.pread(file.fileno(), SAMPLE_BYTES, sample * max(size - SAMPLE_BYTES, 0) // SAMPLES)


def _text_of(settings: Mapping[str, Any]) -> bytes:
    """In one order, without what only says who wrote it, or how the engine computes (which the geometry has)."""
    kept = {key: value for key, value in settings.items() if key not in _IGNORED}
    return json.dumps(kept, sort_keys=True, default=str).encode()


def binding(fingerprint: str, geometry: Geometry, token_ids: Sequence[int]) -> str:
    """The hash that a ticket over these tokens carries.

    Not over the codec, which changes nothing of what was computed, and can't be mistaken: the size of an answer follows
    from it, and every tile's header says it; both are compared with the ticket's format before a tile is decoded.
    """
    digest = hashlib.sha256(json.dumps([fingerprint, asdict(geometry)], sort_keys=True).encode())
    digest.update(array("I", token_ids).tobytes())
    return digest.hexdigest()
