"""What ties KV to the computation that made it: the model's weights, the cache's shape, the token ids.

KV of another prompt or of another fine-tune has the same shape and would be answered as HTTP 200. So a ticket carries
a hash over all three, and the decode engine compares it with its own before it attaches anything.
"""

import hashlib
import json
from array import array
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from runtime.tiles.geometry import Geometry

SAMPLES = 16
SAMPLE_BYTES = 65536
_IGNORED = ("transformers_version", "torch_dtype", "dtype", "_name_or_path")


def model_fingerprint(model: str) -> str:
    """Names weights and configuration, the same on every host. `model` is a folder, or else a name taken as it is.

    Of each weight file its table of tensors and `SAMPLES` stretches are read, not all: enough to tell fine-tunes
    apart, and milliseconds where a full hash of 100 GB would take minutes.
    """
    folder, digest = Path(model), hashlib.sha256()
    if not folder.is_dir():
        return hashlib.sha256(f"name:{model}".encode()).hexdigest()
    config = folder / "config.json"
    if config.is_file():
        settings = {key: value for key, value in json.loads(config.read_bytes()).items() if key not in _IGNORED}
        digest.update(json.dumps(settings, sort_keys=True).encode())
    for path in sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin")):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}".encode())
        with path.open("rb") as file:
            for sample in range(SAMPLES + 1):
                file.seek(sample * max(size - SAMPLE_BYTES, 0) // SAMPLES)
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def binding(fingerprint: str, geometry: Geometry, token_ids: Sequence[int]) -> str:
    """The hash that a ticket over these tokens carries."""
    digest = hashlib.sha256(json.dumps([fingerprint, asdict(geometry)], sort_keys=True).encode())
    digest.update(array("I", token_ids).tobytes())
    return digest.hexdigest()
