"""Hosts of the lab: each with a network of its own, a shaped way to it, a part of the cores, and an SSH server."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from benchmarks.lab.quota import Group, group
from benchmarks.shaped_line import shaped
from tests.provisioners.networks import Network, Unavailable, networks
from tests.provisioners.sshd import KNOWN_CODE, Sshd, sshd

SUBNET, SSH_PORT = 12, 22
FAST_MBIT, SLOW_MBIT = 1000.0, 20.0
BURST_BYTES = 128 << 10
"""Little beside what is sent, and enough for a gigabit line."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a host is called, and how much of a core it has."""

    name: str
    cores: float


KINDS = (Kind("large", 0.7), Kind("middle", 0.5), Kind("small", 0.35))


@dataclass(slots=True)
class Host:
    """A machine that runs once it is switched on, until it is killed. Its disk is `folder`, which stays."""

    kind: Kind
    network: Network
    group: Group
    folder: Path
    mbit_per_s: float = 0.0
    is_on: bool = False
    _power: ExitStack = field(default_factory=ExitStack)
    _server: Sshd | None = None

    @property
    def name(self) -> str:
        return self.kind.name

    @property
    def server(self) -> Sshd:
        assert self._server is not None, "it was never switched on"
        return self._server

    def switch_on(self) -> None:
        """Its network and SSH server, as after a boot. Commands by SSH run in its group, and whatever they start."""
        self._power.close()
        self._link("up")
        try:
            self._server = self._power.enter_context(self._serving())
        except pytest.skip.Exception as reason:
            raise Unavailable(str(reason)) from reason
        self.is_on = True

    def be_on(self) -> None:
        """Switch it on unless it is: whatever happened to it, it can be asked to give back what is leased on it."""
        if not self.is_on:
            self.switch_on()

    def kill(self) -> int:
        """As if its power failed: its network is silent, then no process is left. How many there were."""
        self._link("down")
        self.is_on = False
        return self.group.kill_all()

    def switch_off(self) -> None:
        self.group.kill_all()
        self._power.close()

    def shape(self, mbit_per_s: float) -> None:
        """What its way carries from now on, in each direction."""
        queue = shaped(mbit_per_s, BURST_BYTES)
        _run(*self.network.through, "tc", *f"qdisc replace dev wire root {queue}".split())
        _run("tc", *f"qdisc replace dev {self.network.wire} root {queue}".split())
        self.mbit_per_s = mbit_per_s

    def _serving(self) -> AbstractContextManager[Sshd]:
        """In a session of its own, so that Ctrl-C ends it only after what is leased by it was released."""
        inside = replace(self.network, through=(*self.group.through, "setsid", *self.network.through))
        return sshd(self.folder / "sshd", port=SSH_PORT, network=inside, environment=KNOWN_CODE)

    def _link(self, state: str) -> None:
        _run("ip", "link", "set", self.network.wire, state)


@contextmanager
def hosts(folder: Path, kinds: Sequence[Kind] = KINDS, subnet: int = SUBNET) -> Iterator[list[Host]]:
    """All on, on gigabit lines; nothing of them is left when the block ends but their folders. Raises Unavailable."""
    with ExitStack() as stack:
        made = []
        for kind, network in zip(kinds, stack.enter_context(networks(len(kinds), subnet)), strict=True):
            own = stack.enter_context(group(f"{network.wire}-{kind.name}", kind.cores))
            host = Host(kind, network, own, folder / kind.name)
            stack.callback(host.switch_off)
            host.shape(FAST_MBIT)
            host.switch_on()
            made.append(host)
        yield made


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
