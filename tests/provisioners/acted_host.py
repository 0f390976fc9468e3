"""A rented host from within, in memory: what the commands of a bootstrap make of it, as its probe says afterwards.

It outlives the processes that prepare it, as a real one does, and a command of which it knows nothing is an error.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from provisioners.bootstrap import bootstrap
from provisioners.hosts.commands import Run
from provisioners.hosts.digests import contents_digest, digest
from provisioners.hosts.facts import parse_facts
from provisioners.hosts.wanted import HostSpec
from provisioners.transport import Completed
from tests.provisioners.host_worlds import host_spec

BARE = """\
os ubuntu 24.04
arch x86_64
glibc 2.39
uid 0
cores 16
ram_kib 134217728
disk_free_kib 524288000
driver 580.105.08
cuda 13.0
tool gcc
gpu GPU-0, 49140, NVIDIA RTX A6000
gpu GPU-1, 49140, NVIDIA RTX A6000
gpu GPU-2, 49140, NVIDIA RTX A6000
gpu GPU-3, 49140, NVIDIA RTX A6000
"""
STARTED_AT = 1000.0


@dataclass
class ActedHost:
    """Becomes `wanted` command by command: a transport to it."""

    wanted: HostSpec = field(default_factory=host_spec)
    _files: dict[str, bytes] = field(default_factory=dict)
    _said: dict[str, str] = field(default_factory=dict)

    @property
    def needs(self) -> tuple[str, ...]:
        """What a bootstrap would still do, in words."""
        return tuple(command.why for command in bootstrap(parse_facts(self._probed()), self.wanted))

    async def run(self, command: str, *, timeout_s: float, stdin: bytes = b"") -> Completed:
        if command.startswith("sh -s --"):
            return Completed(0, self._probed().encode(), b"")
        facts = parse_facts(self._probed())
        found = [one for one in bootstrap(facts, self.wanted) if isinstance(one, Run) and one.command == command]
        assert len(found) == 1, f"nothing needs {command!r}"
        match found[0].why.split():
            case ["make", "the", "engine's", "environment"]:
                self._said["made"] = f"3.11.9 {self.wanted.environment.vllm}"
            case ["unpack", "our", "code"]:
                self._said["payload"] = self.wanted.payload_digest
            case ["clear", "credentials", *_]:
                self._files = {name: data for name, data in self._files.items() if not name.startswith("tls/")}
            case ["download", "the", "model", *_]:
                self._said["weights"] = "yes"
            case ["let", _, "lead", "to", folder]:
                self._said["model_link"] = folder
            case ["start", "the", "agent"]:
                record = {"pid": 7, "started_at": STARTED_AT, "host": "0.0.0.0", "port": self.wanted.port}
                self._said |= {"agent": json.dumps(record), "agent_process": f"S {STARTED_AT}"}
                self._said["agent_started_with"] = self.wanted.agent_digest(facts)
            case other:
                raise AssertionError(f"No host knows how to {' '.join(other)}.")
        return Completed(0, b"", b"")

    async def put(self, path: str, data: bytes, mode: int) -> None:
        self._files[path] = data

    async def send(self, source: Path, path: str) -> None:
        self._files[path] = str(source).encode()

    async def get(self, path: str) -> bytes:
        return self._files[path]

    def _probed(self) -> str:
        tls = {name.removeprefix("tls/"): data for name, data in self._files.items() if name.startswith("tls/")}
        config = self._files.get("agent.json")
        said = {**self._said, "tls": contents_digest(tls), "agent_config": digest(config) if config else ""}
        return BARE + "".join(f"{word} {value}\n" for word, value in said.items() if value)
