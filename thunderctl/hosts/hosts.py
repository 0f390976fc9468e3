"""What each instance of a plan shall have: from spec, plan, lease and machine to a `HostSpec`."""

import json
import os

from planner.deployment import Plan
from planner.errors import HostError, HostSilent, SpecError
from provisioners.base import AGENT_PORT, Machine
from provisioners.hosts.cards import Gpus
from provisioners.hosts.wanted import Environment, HostSpec
from provisioners.leases.journal import LeaseRow
from provisioners.ssh.rented import OnRentedHosts
from runtime.agent.config import AgentConfig
from runtime.tls import AUTHORITY_CERTIFICATE, CERTIFICATE, PRIVATE_KEY
from thunderctl.hosts.engine_environment import engine_python
from thunderctl.hosts.engines import pool_bytes
from thunderctl.hosts.locks import environment_of
from thunderctl.hosts.payload import build_payload, host_scripts
from thunderctl.spec.engine_files import host_files
from thunderctl.spec.spec import Spec
from thunderctl.weights.source import check_source, source_of
from thunderctl.weights.weights import Weights
from thunderctl.world import World

LOOPBACK, ANY_ADDRESS = "127.0.0.1", "0.0.0.0"
"""Where agents listen: on a host of our own for itself alone, elsewhere for the other instances."""
CREDENTIALS = (AUTHORITY_CERTIFICATE, CERTIFICATE, PRIVATE_KEY)
LOCAL, SSH = "local", "ssh"


def check_hosts(plan: Plan, spec: Spec) -> None:
    """Raise SpecError for what can be known to fail on the plan's hosts before they are leased."""
    check_source(plan, spec)
    host_files(spec)
    for provider, gpu in sorted({(instance.provider, instance.gpu) for instance in plan.instances}):
        environment(provider, gpu)


async def list_weights(world: World, plan: Plan, spec: Spec) -> None:
    """Find out which files of which sizes the plan's weights are, once for all its hosts. Raises ThunderError."""
    await _weights(world, plan, spec).model()


async def host_spec(world: World, plan: Plan, spec: Spec, row: LeaseRow, machine: Machine) -> HostSpec:
    """What the machine of a lease shall have. Raises ThunderError."""
    payload, tls = build_payload(), world.agent_tls(row.lease_id)
    config = agent_config(world.name, plan, spec, row, machine)
    instance, provisioner = plan.instance(row.instance), world.provisioner(row.provider)
    return HostSpec(
        name=row.lease_id,
        folder=provisioner.folder(machine),
        environment=environment(row.provider, instance.gpu, machine.engine_python),
        payload=payload.data,
        payload_digest=payload.digest,
        agent_config=json.dumps(config.to_json(), indent=1).encode(),
        tls={name: (tls / name).read_bytes() for name in CREDENTIALS},
        scripts=host_scripts(),
        model=await _weights(world, plan, spec).model(),
        gpus=Gpus(instance.gpu, instance.gpu_count, instance.gpu_memory_gib),
        files=host_files(spec),
        port=config.port,
        supervised_by_systemd=row.provider != LOCAL,
        switched=isinstance(provisioner, OnRentedHosts),
    )


def agent_config(deployment: str, plan: Plan, spec: Spec, row: LeaseRow, machine: Machine) -> AgentConfig:
    """On a port of its own choice, but where only certain ports lead in; then others dial what leads to that."""
    outer = machine.ports.get(AGENT_PORT, 0)
    return AgentConfig(
        instance=row.lease_id,
        deployment=deployment,
        host=LOOPBACK if machine.address == LOOPBACK else ANY_ADDRESS,
        port=AGENT_PORT if outer else 0,
        advertise_host=machine.address,
        advertise_port=outer,
        dialled=machine.dialled,
        pool_bytes=pool_bytes(plan, spec),
        version=build_payload().digest,
    )


def environment(provider: str, gpu: str, stated: str = "") -> Environment:
    """What engines run in there. `stated` is the interpreter that the machine is known to have, with vLLM.

    This host's own is made by `make setup` and by nothing else. A machine of one's own may have one at the same path.
    """
    if provider == LOCAL:
        return Environment(given=engine_python())
    if not stated and provider == SSH:
        stated = _same_path_as_here()
    return environment_of(gpu, stated)


def unreachable(machine: Machine, error: HostError) -> HostError:
    """The agent listens, as the machine itself says, and does not answer from here: what stands between, in words.

    HostSilent where its provider promised that the port leads in: another machine's may.
    """
    outer = machine.ports.get(AGENT_PORT)
    port = f"port {outer} (its own {AGENT_PORT})" if outer else "the port that it chose"
    kind = HostSilent if outer else HostError
    return kind(
        f"The agent on {machine.address} runs, and can't be reached from here: {error.message}",
        hint=f"Is {port} closed by a firewall or security group, or is the address not reachable from this network?",
    )


def _same_path_as_here() -> str:
    try:
        return engine_python()
    except SpecError:
        return os.environ.get("THUNDER_ENGINE_PYTHON", "")


def _weights(world: World, plan: Plan, spec: Spec) -> Weights:
    return Weights(source_of(plan, spec), world.folder, send_token=spec.model.send_token)
