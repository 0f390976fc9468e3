"""Files that appear whole or not at all."""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write_private(path: "Path", content: bytes) -> None:
    """Replace `path` at once by a file that only its owner reads."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_bytes(content)
    fresh.replace(path)


def write_json(path: "Path", document: "Mapping[str, Any]") -> None:
    """`write_private` of a JSON document."""
    write_private(path, json.dumps(document, indent=1).encode() + b"\n")
