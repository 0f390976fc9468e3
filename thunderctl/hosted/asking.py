"""A command run where the deployment lives: its words as they are meant there, and `ssh`, which carries it."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from planner.errors import HostError
from provisioners.hosts.digests import digest
from thunderctl.hosted.note import Away
from thunderctl.hosted.place import COMMAND, FILES

LOST = 255
"""The code by which `ssh` says that it failed itself; no command of ours ends with it."""
TAKE_FILES = ("up", "rebalance", "drain", "undrain", "gc")
"""Commands whose words may name files of the machine where they are typed."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A command's words as they are there; `files` are what they name: path there → path here."""

    words: tuple[str, ...]
    files: Mapping[str, Path] = field(default_factory=dict)


def as_there(command: str, words: Sequence[str], folder: str) -> Asked:
    """Words that name a file here name its copy there. What follows `--` is another machine's."""
    if command not in TAKE_FILES:
        return Asked((command, *words))
    files, told = dict[str, Path](), list[str]()
    for word in words:
        flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        path = Path(value).expanduser()
        if value and path.is_file():
            name = f"{folder}/{FILES}/{digest(str(path.resolve()).encode())[:12]}-{path.name}"
            files[name] = path
            told.append(f"{flag}{equals}{name}")
        else:
            told.append(word)
    return Asked((command, *told), files)


def run_there(away: Away, words: Sequence[str]) -> int:
    """Run it, with this process's input and output; returns its exit code. Raises HostError where it can't be asked."""
    if shutil.which("ssh") is None:
        raise HostError(
            "There is no `ssh` program on this machine's PATH.",
            hint="Install OpenSSH's client: apt install openssh-client",
        )
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    line = f"exec {shlex.join((f'{away.folder}/{COMMAND}', *words))}"
    sys.stdout.flush()
    code = subprocess.run(away.host.shell.arguments(line, terminal=terminal), check=False).returncode
    if code == LOST:
        raise HostError(
            f"{away.host.name} ({away.host.address}), where this deployment lives, can't be asked.",
            hint="Nothing was changed by this machine: what runs is looked after there. Try again.",
        )
    return code
