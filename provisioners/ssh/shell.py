"""A person's way onto a machine: the system's own `ssh` program, told all that our connections go by. Pure.

It reads no configuration but ours, trusts the host key that we pinned and no other, and never asks for a password.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from provisioners.ssh.login import SshKeys, SshLogin

ALIVE_EVERY_S = 15
OPTIONS = {
    "StrictHostKeyChecking": "yes",
    "GlobalKnownHostsFile": "none",
    "UpdateHostKeys": "no",
    "PasswordAuthentication": "no",
    "KbdInteractiveAuthentication": "no",
    "ServerAliveInterval": str(ALIVE_EVERY_S),
}


@dataclass(frozen=True, slots=True)
class SshShell:
    """How a machine is logged in to; with `sudo` all is done as root there, by who may become it without a password."""

    login: SshLogin
    sudo: bool = False

    def arguments(self, remote: str, *, terminal: bool) -> list[str]:
        """The whole command line: `remote` is a POSIX shell's, with a terminal there if `terminal`."""
        line = f"exec {'sudo -n -- ' if self.sudo else ''}/bin/sh -c {shlex.quote(remote)}"
        return [*_program(self.login), "-t" if terminal else "-T", *_place(self.login), line]


def in_folder(folder: str, words: Sequence[str]) -> str:
    """What a shell is told: those words as SSH takes them, joined by blanks; without any, be the user's shell there."""
    if words:
        return f"cd {shlex.quote(folder)} || exit; {' '.join(words)}"
    return f'cd {shlex.quote(folder)} || echo "(not prepared yet)" >&2; exec "${{SHELL:-/bin/sh}}"'


def _program(login: SshLogin) -> list[str]:
    settings = {
        **OPTIONS,
        "UserKnownHostsFile": _quoted(login.known_host.file),
        "HostKeyAlias": login.known_host.name,
        **_key_settings(login.keys),
        **({"ProxyCommand": _through(login)} if login.jump else {}),
    }
    options = [f"{name}={value}" for name, value in settings.items()]
    return ["ssh", "-F", "none", *_flagged("-o", options), *_flagged("-i", _key_files(login.keys))]


def _place(login: SshLogin) -> list[str]:
    address = login.address
    return ["-p", str(address.port), "-l", address.user, "--", address.host]


def _through(login: SshLogin) -> str:
    """The command that dials the host from its jump; `ssh` reads it with % as a sign of its own."""
    assert login.jump is not None
    host, port = login.address.host, login.address.port
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return shlex.join([*_program(login.jump), "-W", target, *_place(login.jump)]).replace("%", "%%")


def _key_settings(keys: SshKeys) -> dict[str, str]:
    """The key that is known to be let in is shown alone: servers hang up after some that they refuse."""
    if keys.first is not None:
        return {"IdentitiesOnly": "yes"}
    return {} if keys.agent else {"IdentityAgent": "none"}


def _key_files(keys: SshKeys) -> list[str]:
    first = [keys.first] if keys.first is not None else []
    return [str(path.expanduser()).replace("%", "%%") for path in [*first, *keys.files]]


def _flagged(flag: str, values: Sequence[str]) -> Iterator[str]:
    for value in values:
        yield from (flag, value)


def _quoted(path: Path) -> str:
    """As `ssh` reads a file's name in an option: blanks within quotes, % twice."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"'
