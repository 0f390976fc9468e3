"""Where an SSH server is, and what it takes to get in."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from planner.errors import SpecError
from provisioners.ssh.known_host import KnownHost

SSH_PORT = 22
ADDRESS = re.compile(
    r"(?:(?P<user>[^@\s]+)@)?(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[^@:\s\[\]]+))(?::(?P<port>\d+))?"
)


@dataclass(frozen=True, slots=True)
class SshAddress:
    """A server and who logs in there; reads and prints as `user@host:port`."""

    host: str
    port: int = SSH_PORT
    user: str = "root"

    def __str__(self) -> str:
        return f"{self.user}@{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str, user: str = "root") -> Self:
        """`[user@]host[:port]`; an IPv6 host stands in brackets. Raises SpecError."""
        found = ADDRESS.fullmatch(text)
        port = int(found["port"] or SSH_PORT) if found else 0
        if found is None or not 0 < port < 65536:
            raise SpecError(f"The SSH address is {text!r}; expected user@host:port, such as ubuntu@10.0.0.5:22.")
        return cls(found["six"] or found["host"], port, found["user"] or user)


@dataclass(frozen=True, slots=True)
class SshKeys:
    """What is shown to a server: `first`, then the keys of a running agent, then those of the files.

    Without files, the usual ones of the user's home are tried (`~/.ssh/id_ed25519`, `id_ecdsa`, `id_rsa`). `first` is
    the key that is known to be let in: servers hang up after some that they refuse.
    """

    files: tuple[Path, ...] = ()
    agent: bool = True
    first: Path | None = None


@dataclass(frozen=True, slots=True)
class SshLogin:
    """All that a connection needs; `jump` is the host that it goes through."""

    address: SshAddress
    known_host: KnownHost
    keys: SshKeys = SshKeys()
    jump: "SshLogin | None" = None
