"""What an instance has, found out by one command that changes nothing."""

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from planner.errors import HostError
from provisioners.transport import Transport

PROBE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class AgentFact:
    """The agent that runs: process, where it listens, and the digest of the HostSpec it was started with."""

    pid: int
    started_at: float
    host: str
    port: int
    started_with: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the probe said. Digests are SHA-256 in hex; empty text means absent.

    `python` is the version of the engine's interpreter, empty where it does not work, and then `problem` says why and
    nothing else is known. `tls` is a `folder_digest`. `model` covers names and sizes only. `agent_starts`: an agent
    holds the instance's lock, though it may not have said yet where it listens.
    """

    python: str
    vllm: str = ""
    payload: str = ""
    agent_config: str = ""
    tls: str = ""
    model: str = ""
    agent: AgentFact | None = None
    agent_starts: bool = False
    disk_free_gb: float = 0.0
    problem: str = ""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        known = {field.name for field in fields(cls)}
        values = {key: value for key, value in document.items() if key in known}
        agent = values.get("agent")
        return cls(**{**values, "agent": AgentFact(**agent) if agent else None})


async def gather_facts(transport: Transport, *, engine_python: str, model: str, probe: str) -> Facts:
    """Run `probe` (the text of `templates/probe.py`) with the engine's interpreter. Raises HostError."""
    command = f"{shlex.quote(engine_python)} -I - {shlex.quote(model)}"
    done = await transport.run(command, timeout_s=PROBE_TIMEOUT_S, stdin=probe.encode())
    if done.code != 0:
        return Facts(python="", problem=done.complaint or f"exit code {done.code}")
    try:
        return Facts.from_json(json.loads(done.stdout))
    except (ValueError, TypeError) as error:
        said = done.stdout[:200].decode(errors="replace")
        raise HostError(f"The instance answered the probe with {said!r}; expected its facts as JSON.") from error


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def folder_digest(files: Mapping[str, bytes]) -> str:
    """The digest that the probe gives a folder of these files: over their names and contents."""
    lines = (f"{name} {digest(data)}\n" for name, data in sorted(files.items()))
    return digest("".join(lines).encode()) if files else ""
