"""Wheels of what is installed here, put together again from its files: so an installer can be tried without a registry.

Only what the project declares that it needs is there, with what that needs in turn; so a dependency that is used and
not declared is missed in what is installed from it.
"""

import zipfile
from importlib.metadata import Distribution
from pathlib import Path

from requirements.closure import needed

OURS = frozenset({"INSTALLER", "REQUESTED", "RECORD", "direct_url.json"})
"""Of a .dist-info: what the installer wrote here."""


def wheelhouse(folder: Path, requirements: list[str]) -> Path:
    """A wheel of every distribution that these requirements lead to, in this folder."""
    for found in needed(requirements).values():
        packed(found, folder)
    return folder


def packed(found: Distribution, folder: Path) -> Path:
    """One distribution as a wheel, not compressed. Its scripts are left out: installers make those of entry points."""
    files = [one for one in found.files or () if one.suffix != ".pyc" and not str(one).startswith("..")]
    info = next(one.parent for one in files if one.name == "METADATA" and one.parent.suffix == ".dist-info")
    kept = [one for one in files if not (one.parent == info and one.name in OURS)]
    path = folder / f"{info.stem}-{_tag(found)}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for one in kept:
            wheel.write(found.locate_file(one), str(one))
        record = [f"{one},{_hash(one)},{one.size or ''}" for one in kept]
        wheel.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,"]) + "\n")
    return path


def _tag(found: Distribution) -> str:
    """Of its WHEEL file: pythons, ABIs and platforms."""
    lines = (found.read_text("WHEEL") or "").splitlines()
    tags = [line.removeprefix("Tag: ").split("-") for line in lines if line.startswith("Tag: ")]
    return "-".join(".".join(dict.fromkeys(column)) for column in zip(*tags, strict=True))


def _hash(one) -> str:
    return f"{one.hash.mode}={one.hash.value}" if one.hash else ""
