"""What an instance has, found out by one command that changes nothing and needs only a shell: `templates/probe.sh`."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from planner.errors import HostError
from provisioners.transport import Transport

PROBE_TIMEOUT_S = 60.0
CLOCK_TOLERANCE_S = 2.0
"""Start times come from the boot time, which moves when the clock is set."""
ZOMBIE = "Z"


@dataclass(frozen=True, slots=True)
class GpuFact:
    """A GPU as nvidia-smi lists it."""

    uuid: str
    memory_mib: float
    name: str


@dataclass(frozen=True, slots=True)
class EngineFact:
    """An interpreter on the instance. `vllm` is empty where it has none; `problem` says why it does not work at all."""

    python: str = ""
    vllm: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class AgentFact:
    """The agent that runs: process, where it listens, and the digest of what it was started with."""

    pid: int
    started_at: float
    host: str
    port: int
    started_with: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the probe said. Digests are SHA-256 in hex; empty text means absent.

    `cuda` is the newest CUDA that the driver serves. `given` and `made` are the interpreters that were asked about.
    `model` covers the names and sizes of a folder that was asked about, `weights` says that the one we would fill is
    there, `model_link` is where the instance's own name for its model points; `uploaded` are sizes by name. `files` and
    `tls` are digests of contents. `agent_starts`: an agent holds the instance's lock, though it may not have said yet
    where it listens. `listening` are TCP ports. `begun_gb` is what half an environment and half a download take.
    `switch`: a dead-man's switch runs.
    """

    os: str = ""
    arch: str = ""
    glibc: str = ""
    container: bool = False
    systemd: bool = False
    root: bool = False
    sudo: bool = False
    cores: int = 0
    ram_gb: float = 0.0
    disk_free_gb: float = 0.0
    begun_gb: float = 0.0
    driver: str = ""
    cuda: str = ""
    gpus: tuple[GpuFact, ...] = ()
    tools: tuple[str, ...] = ()
    listening: tuple[int, ...] = ()
    given: EngineFact = EngineFact()
    made: EngineFact = EngineFact()
    payload: str = ""
    agent_config: str = ""
    tls: str = ""
    files: str = ""
    model: str = ""
    model_link: str = ""
    weights: bool = False
    uploaded: Mapping[str, int] = field(default_factory=dict)
    agent: AgentFact | None = None
    agent_starts: bool = False
    switch: bool = False

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """From a JSON object with some of these fields, as test cases state them."""
        if unknown := set(document) - {known.name for known in fields(cls)}:
            raise ValueError(f"Facts have {', '.join(sorted(unknown))}; expected the names of their fields.")
        nested: dict[str, Any] = {
            "gpus": tuple(GpuFact(**gpu) for gpu in document.get("gpus", ())),
            "tools": tuple(document.get("tools", ())),
            "listening": tuple(document.get("listening", ())),
            "given": EngineFact(**document.get("given", {})),
            "made": EngineFact(**document.get("made", {})),
            "agent": AgentFact(**agent) if (agent := document.get("agent")) else None,
        }
        return cls(**{**document, **nested})


async def gather_facts(transport: Transport, arguments: tuple[str, ...], *, probe: str) -> Facts:
    """Run `probe`, the text of `templates/probe.sh`, which says what its arguments are. Raises HostError."""
    command = shlex.join(("sh", "-s", "--", *arguments))
    done = await transport.run(command, timeout_s=PROBE_TIMEOUT_S, stdin=probe.encode())
    if done.code != 0:
        raise HostError(f"The instance can't be probed: code {done.code}, {done.complaint or 'and not a word'}.")
    return parse_facts(done.stdout.decode(errors="replace"))


def parse_facts(text: str) -> Facts:
    """What the probe printed. Raises HostError."""
    said: dict[str, list[str]] = {}
    for line in text.splitlines():
        word, _, value = line.partition(" ")
        said.setdefault(word, []).append(value.strip())
    try:
        return _facts(said)
    except (KeyError, ValueError, TypeError) as error:
        raise HostError(f"The instance answered the probe with {text[:200]!r}; expected its facts.") from error


def _facts(said: Mapping[str, list[str]]) -> Facts:
    def one(word: str) -> str:
        return said.get(word, [""])[0]

    words = ("os", "arch", "glibc", "driver", "cuda", "payload", "agent_config", "tls", "files", "model", "model_link")
    flags = ("container", "systemd", "sudo", "weights", "agent_starts", "switch")
    plain: dict[str, Any] = {word: one(word) for word in words} | {word: word in said for word in flags}
    return Facts(
        **plain,
        root=said["uid"] == ["0"],
        cores=int(one("cores") or 0),
        ram_gb=round(_ram_bytes(one("ram_kib"), one("ram_limit")) / 1e9, 1),
        disk_free_gb=round(int(said["disk_free_kib"][0]) * 1024 / 1e9, 1),
        begun_gb=round(int(one("begun_kib") or 0) * 1024 / 1e9, 1),
        gpus=tuple(_gpu(line) for line in said.get("gpu", ())),
        tools=tuple(said.get("tool", ())),
        listening=tuple(sorted(int(port, 16) for port in one("listening").split())),
        given=_engine(one("given"), one("given_problem")),
        made=_engine(one("made"), one("made_problem")),
        uploaded=dict(_uploaded(line) for line in said.get("uploaded", ())),
        agent=_agent(one("agent"), one("agent_process"), one("agent_started_with")),
    )


def _ram_bytes(total_kib: str, limit: str) -> int:
    """What the host has, or what a container may have of it."""
    total = int(total_kib or 0) * 1024
    return min(total, int(limit)) if limit.isdecimal() else total


def _gpu(line: str) -> GpuFact:
    uuid, memory_mib, name = (part.strip() for part in line.split(",", 2))
    return GpuFact(uuid, float(memory_mib), name)


def _engine(versions: str, problem: str) -> EngineFact:
    python, _, vllm = versions.partition(" ")
    return EngineFact(python, vllm, problem)


def _uploaded(line: str) -> tuple[str, int]:
    name, _, size = line.rpartition(" ")
    return name, int(size)


def _agent(record: str, process: str, started_with: str) -> AgentFact | None:
    """The agent that wrote the record, if it still runs: a pid may have been used again, and a zombie is none."""
    state, _, started_at = process.partition(" ")
    if not started_at or state == ZOMBIE:
        return None
    try:
        found = json.loads(record)
        agent = AgentFact(found["pid"], found["started_at"], found["host"], found["port"], started_with)
        return agent if abs(agent.started_at - float(started_at)) <= CLOCK_TOLERANCE_S else None
    except (ValueError, KeyError, TypeError):
        return None
