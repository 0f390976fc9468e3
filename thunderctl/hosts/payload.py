"""What a rented host gets of ours: the code of its processes, and the scripts that prepare it.

The code is `runtime`, and of `planner` only the words that it needs: no control plane, nothing that could spend.
"""

import ast
import gzip
import io
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from provisioners.hosts.digests import digest
from provisioners.hosts.wanted import HostScripts
from thunderctl.hosts.locks import lock_text

WORDS = ("__init__", "errors", "catalog", "workload", "deployment", "llm")
"""Modules of `planner` that every host gets; what they or `runtime` import of `planner` comes along."""
PACKAGES = ("thunderctl", "planner", "provisioners", "runtime", "templates")
LOCKS = ("bootstrap.txt", "engine.txt", "engine-cuda.txt", "hosted.txt")


@dataclass(frozen=True, slots=True)
class Payload:
    """Our code as tar.gz. `digest` is the SHA-256 of the archive before compression: the same code, the same digest."""

    data: bytes = field(repr=False)
    digest: str
    names: tuple[str, ...] = ()


@cache
def build_payload() -> Payload:
    """Archive the installed packages' files that a rented host gets."""
    return archived(_contents())


@cache
def control_payload() -> Payload:
    """Archive all of ours, locks included, for a host of one's own that deployments are looked after from."""
    ours = {path: data for package in PACKAGES for path, data in _below(files(package), package)}
    return archived(ours | {f"requirements/{name}": lock_text(name).encode() for name in LOCKS})


def archived(contents: Mapping[str, bytes]) -> Payload:
    """These files in the order of their names, without times or owners."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in sorted(contents.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            tar.addfile(member, io.BytesIO(data))
    data = archive.getvalue()
    return Payload(gzip.compress(data, mtime=0), digest(data), tuple(sorted(contents)))


@cache
def host_scripts() -> HostScripts:
    """The texts that `provisioners.bootstrap` renders and sends to a host."""

    def text(name: str) -> str:
        return files("templates").joinpath(name).read_text()

    return HostScripts(
        probe=text("probe.sh"),
        make_environment=text("make_environment.sh.j2"),
        agent=text("agent.sh.j2"),
        agent_service=text("agent.service.j2"),
        start_agent=text("start_agent.sh.j2"),
        stop_agent=text("stop_agent.sh.j2"),
    )


def _contents() -> dict[str, bytes]:
    """Path in the archive → bytes: all of `runtime`, and the closure of `planner` under import."""
    contents = dict(_below(files("runtime"), "runtime"))
    todo = [*WORDS]
    for name, data in contents.items():
        if name.endswith(".py"):
            todo += _planner_modules(data)
    while todo:
        module = todo.pop()
        path = f"{module.replace('.', '/')}.py"
        if f"planner/{path}" not in contents:
            contents[f"planner/{path}"] = files("planner").joinpath(path).read_bytes()
            todo += _planner_modules(contents[f"planner/{path}"])
            todo += [f"{package}.__init__" for package in [module.rpartition(".")[0]] if package]
    return contents


def _below(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            yield from _below(entry, f"{path}/{entry.name}")
        elif entry.is_file() and not entry.name.endswith(".pyc"):
            yield f"{path}/{entry.name}", entry.read_bytes()


def _planner_modules(source: bytes) -> Iterator[str]:
    """The modules of `planner` that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ImportFrom(module="planner", names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module)) if module.startswith("planner."):
                yield module.removeprefix("planner.")
            case ast.Import(names=names):
                yield from (a.name.removeprefix("planner.") for a in names if a.name.startswith("planner."))
