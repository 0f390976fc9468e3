"""`AgentConfig`: what `agent.json` in the instance's folder says."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from planner.errors import KvTransferError, SpecError
from runtime.relay.ticket import TICKET_TTL_S, AgentAddress

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """One instance's agent. Paths are relative to the instance's folder, the agent's working directory.

    `port` 0 takes any free one; run/agent.pid.json says which. `advertise_host` and `advertise_port` are what other
    agents dial, where that is not what is listened on. With `dialled` false they can't (NAT, a firewall): then this
    agent dials its `peers`, until `PUT /kv/peers` names others. `pool_bytes` bounds the KV tiles held in host memory,
    of which the pool never takes more than half.
    `stop_grace_s` is how long an engine told to stop may finish requests. `version` is of the code in `payload/`.
    """

    instance: str
    deployment: str = "default"
    host: str = "127.0.0.1"
    port: int = 0
    advertise_host: str = ""
    advertise_port: int = 0
    dialled: bool = True
    peers: tuple[AgentAddress, ...] = ()
    tls: str = "tls"
    pool_bytes: int = 256 * MIB
    ticket_ttl_s: float = TICKET_TTL_S
    stop_grace_s: float = 40.0
    version: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(document) - known):
            raise SpecError(f"The agent's configuration has {', '.join(unknown)}; expected {', '.join(sorted(known))}.")
        try:
            peers = tuple(AgentAddress.from_json(peer) for peer in document.get("peers", ()))
            return cls(**{**document, "peers": peers})
        except TypeError as error:
            raise SpecError(f"The agent's configuration can't be read: {error}.") from error
        except KvTransferError as error:
            raise SpecError(error.message) from error

    @classmethod
    def load(cls, path: Path) -> Self:
        try:
            return cls.from_json(json.loads(path.read_bytes()))
        except (OSError, ValueError) as error:
            raise SpecError(f"{path} can't be read: {error}.") from error
