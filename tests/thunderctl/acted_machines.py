"""What happens on machines of a fake market, acted: they boot, let us in, are prepared and start engines in time."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from planner.deployment import Plan
from planner.errors import HostError, HostUnfit
from provisioners.base import AGENT_PORT, Machine
from provisioners.transport import Completed
from provisioners.vast.client import VastClient
from provisioners.vast.provisioner import VastProvisioner
from provisioners.vast.terms import Terms
from runtime.messages import AgentHealth, EngineHealth, EngineSpec
from runtime.relay.ticket import AgentAddress
from thunderctl.deploying import bring_up, lifecycle, preparing, refill, routes, site, starting
from thunderctl.observing import observe
from thunderctl.spec.spec import Spec

if TYPE_CHECKING:
    from tests.thunderctl.rented_world import RentedWorld


class ActedVast(VastProvisioner):
    """The real provisioner, but for the way onto machines: that is acted."""

    def __init__(self, client: VastClient, terms: Terms, acted: "RentedWorld") -> None:
        loop = asyncio.get_running_loop()
        super().__init__(client, terms, clock=loop.time, now=acted.now)
        self._acted = acted

    def transport(self, machine: Machine) -> Any:
        return ActedMachine(self._acted, machine)


@dataclass
class ActedMachine:
    """A machine from within, as a transport and as its agent."""

    acted: "RentedWorld"
    machine: Machine

    async def run(self, command: str, *, timeout_s: float, stdin: bytes = b"") -> Completed:
        contract = self.acted.market.contracts[int(self.machine.provider_id)]
        since = self.acted.now() - contract.made_at - self.acted.durations.boot_s
        if since < self.acted.durations.sshd_s:
            raise HostError("connection refused")
        return Completed(0, b"", b"")

    async def get(self, path: str) -> bytes:
        return json.dumps({"port": 8443}).encode()

    async def prepare(self, narrate: Callable[[str], None]) -> None:
        narrate("installs the engine")
        ask = self.acted.ask_of(self.machine.provider_id)
        if ask in self.acted.unfit:
            raise HostUnfit("driver 470.0; CUDA 12.9 needs 575")
        await asyncio.sleep(self.acted.durations.prepare_s + self.acted.slow.get(ask, 0.0))
        if self.acted.breaks:
            self.acted.breaks.pop()(self.acted.market.contracts[int(self.machine.provider_id)])
            raise HostError("the connection was reset")
        self.acted._prepared[self.machine.provider_id] = self.acted.now()
        self.acted._runs[self.machine.provider_id] = self.acted.code


@dataclass
class ActedAgent:
    acted: "RentedWorld"
    machine: Machine
    name: str

    @property
    def url(self) -> str:
        return f"https://{self.machine.address}:8443"

    @property
    def address(self) -> AgentAddress:
        return AgentAddress(self.machine.address, 8443, self.name)

    async def start(self, spec: EngineSpec) -> None:
        engines = self.acted._engines.setdefault(self.machine.provider_id, {})
        engines.setdefault(spec.replica, (self.acted.now(), spec))

    async def stop(self, replica: str) -> None:
        self.acted._engines.get(self.machine.provider_id, {}).pop(replica, None)

    async def health(self) -> AgentHealth:
        provider_id = self.machine.provider_id
        if int(provider_id) not in self.acted.market.contracts:
            raise HostError("no route to host")
        if provider_id not in self.acted._prepared or AGENT_PORT not in self.machine.ports:
            raise HostError("no agent listens")
        known = self.acted._engines.get(provider_id, {})
        engines = (EngineHealth(name, self._state(began_at), spec=spec) for name, (began_at, spec) in known.items())
        return AgentHealth(self.name, self.acted._runs[provider_id], engines=tuple(engines))

    def _state(self, began_at: float) -> str:
        if self.acted.ask_of(self.machine.provider_id) in self.acted.engines_fail:
            return "failed"
        return "ready" if self.acted.now() >= began_at + self.acted.durations.engine_s else "starting"


@contextmanager
def stubbed(acted: "RentedWorld") -> Iterator[None]:
    """What is done on machines and with routes is acted; all before it is real."""

    async def prepare(transport: ActedMachine, _wanted: object, *, narrate: Callable[[str], None], **_: object) -> None:
        await transport.prepare(narrate)

    async def agent_of(_world: object, _agents: object, row: Any, machine: Machine) -> ActedAgent:
        return ActedAgent(acted, machine, row.lease_id)

    async def nothing(*_: object) -> None:
        return None

    async def push(_world: object, plan: Plan, *_: object, **__: object) -> int:
        acted.routed.append(plan)
        acted.routed_s.append(acted.now())
        return len(acted.routed)

    def engine_specs(plan: Plan, _spec: Spec) -> dict[str, Any]:
        return {one.id: SimpleNamespace(replica=one.id, gpus=one.stages[0].gpus) for one in plan.replicas}

    with ExitStack() as stack:
        for module, name, fake in (
            (preparing, "prepare", prepare),
            (preparing, "host_spec", nothing),
            (site, "agent_of", agent_of),
            (starting, "agent_of", agent_of),
            (routes, "push_plan", push),
            (routes, "push_routes", push),
            (bring_up, "list_weights", nothing),
            (bring_up, "engine_specs", engine_specs),
            (lifecycle, "engine_specs", engine_specs),
            (refill, "list_weights", nothing),
            (refill, "engine_specs", engine_specs),
            (refill, "check_host", lambda *_: None),
            (observe, "agent_of", agent_of),
        ):
            stack.enter_context(patch.object(module, name, fake))
        yield
