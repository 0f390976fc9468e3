"""The style sheet, the script and the icon: files of this package, under addresses that change with their contents."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

KINDS = {"app.css": "text/css", "app.js": "text/javascript", "icon.svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    body: bytes
    content_type: str
    digest: str


@cache
def asset(name: str) -> Asset | None:
    """None where there is none of that name."""
    if name not in KINDS:
        return None
    body = (files("thunderctl.web") / "static" / name).read_bytes()
    return Asset(body, KINDS[name], hashlib.sha256(body).hexdigest()[:16])


def address_of(name: str) -> str:
    """Where a page names it."""
    found = asset(name)
    if found is None:
        raise LookupError(f"There is no asset {name}; there are {', '.join(KINDS)}.")
    return f"/static/{name}?v={found.digest}"
