"""How soon a replica that is lost is out of the routes, and those that are left serve by new ones.

.venv/bin/python -m benchmarks.failover [--rounds N]

Writes `benchmarks/results/failover.md`. Three hosts in networks of their own (root's to make), each with an agent's
port whose engines are pretended; the router is its own process, the controller the real one, and no request is under
way: probes alone find out, which is the worst case. Failures come at any moment of their beats. Measured until the
router gives it no request any more, and until routes over what is left are in force.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.failover_host import PORT
from planner.errors import HostError
from runtime.messages import CONTROLLER_NAME, ROUTER_NAME, ReplicaAddress, Routes, agent_name
from runtime.tls import client_context
from tests.provisioners.networks import Network, networks
from tests.thunderctl.controller.situations import PLAN
from tests.thunderctl.controller.worlds import ControllerWorld
from thunderctl.controller.contact import Contact
from thunderctl.controller.watch import Watch
from thunderctl.deploying.routing import shares_of
from thunderctl.keys.certificates import ensure_authority, issue
from thunderctl.processes.agents import Agents
from thunderctl.processes.router_process import RouterProcess

TARGET = Path(__file__).parent / "results" / "failover.md"
ROUNDS, SEED, BEAT_S, LOOK_S, PATIENCE_S = 20, 20261122, 2.0, 0.01, 60.0
INSTANCES = ("i0", "i1", "i2")
OUT_WITHIN_S, ANEW_WITHIN_S = 2.0, 3.0
"""What the tool is held to."""


class Host:
    """One machine: its network, and the process that stands for its agent and engines."""

    def __init__(self, instance: str, network: Network, folder: Path) -> None:
        self.instance, self.network, self.folder = instance, network, folder
        self.state = folder / f"{instance}.state"
        self.process: subprocess.Popen[str]

    def start(self) -> None:
        """As it should be."""
        self.state.write_text("ready")
        replicas = [one.id for one in PLAN.replicas if one.instances[0] == self.instance]
        credentials = self.folder / agent_name(f"l-{self.instance}")
        arguments = [self.network.address, self.instance, str(credentials), str(self.state), *replicas]
        command = [*self.network.through, sys.executable, "-m", "benchmarks.failover_host", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def fail(self) -> None:
        self.state.write_text("failed")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def lose(self) -> None:
        self._link("down")

    def mend(self) -> None:
        """Undo what was done to it."""
        self._link("up")
        if self.process.poll() is None:
            self.state.write_text("ready")
        else:
            self.start()

    def _link(self, word: str) -> None:
        subprocess.run([*self.network.through, "ip", "link", "set", "wire", word], check=True)


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds from the failure, one a round."""

    what: str
    out_s: Sequence[float]
    anew_s: Sequence[float]


KINDS: tuple[tuple[str, Callable[[Host], None]], ...] = (
    ("an engine fails; its agent says so", Host.fail),
    ("agent and engines are killed", Host.kill),
    ("the machine is gone without a word", Host.lose),
)


async def measure(rounds: int, folder: Path) -> list[Took]:
    """Every kind of failure, so many times."""
    chance = random.Random(SEED)
    async with AsyncExitStack() as stack:
        hosts = [Host(*one, folder) for one in zip(INSTANCES, stack.enter_context(networks(3, subnet=11)), strict=True)]
        made, router = await _deployment(stack, hosts, folder)
        controlling = asyncio.ensure_future(made.controller.run())
        stack.callback(controlling.cancel)
        found = []
        for what, harm in KINDS:
            took = []
            for _ in range(rounds):
                await _until(lambda: _whole(router))
                await asyncio.sleep(BEAT_S * (1 + chance.random()))
                try:
                    took.append(await _round(hosts[0], harm, router))
                except TimeoutError as error:
                    raise SystemExit(f"{what}: no new routes within {PATIENCE_S:g} s. {made.events()}") from error
                hosts[0].mend()
            found.append(Took(what, *zip(*took, strict=True)))
        return found


async def _round(host: Host, harm: Callable[[Host], None], router: RouterProcess) -> tuple[float, float]:
    harm(host)
    began = time.monotonic()
    out = asyncio.ensure_future(_until(lambda: _given_up(router)))
    await _until(lambda: _anew(router))
    anew_s = time.monotonic() - began
    return min(await out - began, anew_s), anew_s


async def _until(condition: Callable[[], Awaitable[bool]]) -> float:
    """When it was so (monotonic)."""
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(LOOK_S)
    return time.monotonic()


async def _given_up(router: RouterProcess) -> bool:
    return "r0" not in await router.up()


async def _anew(router: RouterProcess) -> bool:
    routes = router.routes()
    return routes is not None and "r0" not in {one.id for one in routes.replicas}


async def _whole(router: RouterProcess) -> bool:
    try:
        return await router.up() == {"r0", "r1", "r2"}
    except HostError:
        return False


async def _deployment(
    stack: AsyncExitStack, hosts: Sequence[Host], folder: Path
) -> tuple[ControllerWorld, RouterProcess]:
    """Agents, router and controller; leases and provider are a fake's, and time there stands still."""
    ensure_authority(folder / "ca")
    router = RouterProcess(folder / "router", folder / "keys.json")
    for name in (CONTROLLER_NAME, *(agent_name(f"l-{one}") for one in INSTANCES)):
        issue(folder / "ca", name, folder / name)
    issue(folder / "ca", ROUTER_NAME, router.tls)
    for host in hosts:
        host.start()
        stack.callback(host.kill)
    made = ControllerWorld(folder / "controller")
    at = {host.instance: host.network.address for host in hosts}
    machines = made.cloud.machines
    made.cloud.machines = {key: replace(one, address=at[key.removeprefix("m-")]) for key, one in machines.items()}
    await router.serve(_routes(at), made.spec.serve.model_copy(update={"listen": "127.0.0.1:0"}))
    stack.push_async_callback(router.stop)
    made.world.router, made.router = router, router
    provisioner = SimpleNamespace(transport=lambda _: SimpleNamespace(get=_port), let_operator_in=_port)
    agents = await stack.enter_async_context(Agents(client_context(folder / CONTROLLER_NAME)))
    made.contact = Contact(SimpleNamespace(name="d", provisioner=lambda _: provisioner), agents)
    stack.callback(made.contact.close)
    made.again()
    made.controller.clock, made.controller.sleep = time.monotonic, Watch(router).pause
    return made, router


def _routes(at: dict[str, str]) -> Routes:
    addresses = tuple(
        ReplicaAddress(
            one.id,
            one.phase,
            f"https://{at[one.instances[0]]}:{PORT}/r/{one.id}",
            server_name=agent_name(f"l-{one.instances[0]}"),
        )
        for one in PLAN.replicas
    )
    return Routes(1, "llama", addresses, tuple(shares_of(PLAN)), PLAN.plan_id)


async def _port(*_: Any) -> bytes:
    return json.dumps({"port": PORT}).encode()


def text_of(found: Sequence[Took]) -> str:
    """The page."""
    rows = [
        f"| {one.what} | {_median(one.out_s):.2f} | {max(one.out_s):.2f} | {_median(one.anew_s):.2f} | "
        f"{max(one.anew_s):.2f} |"
        for one in found
    ]
    load = os.getloadavg()[0]
    return "\n".join(
        [
            "# From a failure to routes without it",
            "",
            "Written by `.venv/bin/python -m benchmarks.failover` on "
            f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
            f"load average {load:.1f}, seed {SEED}, {len(found[0].out_s)} rounds each. Measured with pretended "
            "engines, and no request under way: one that meets the failure is sooner.",
            "",
            f"Held to: no request goes there after {OUT_WITHIN_S:g} s, routes over what is left after "
            f"{ANEW_WITHIN_S:g} s.",
            "",
            "| seconds from the failure | out, median | out, most | new routes, median | new routes, most |",
            "|---|--:|--:|--:|--:|",
            *rows,
            "",
        ]
    )


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    folder = Path(tempfile.mkdtemp())
    os.environ["THUNDER_HOME"] = str(folder / "home")
    try:
        text = text_of(asyncio.run(measure(rounds, folder)))
    finally:
        shutil.rmtree(folder)
    TARGET.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
