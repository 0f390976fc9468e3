"""Containers as Vast.ai runs them, on this machine: a network namespace each, with an SSH server, its `-p` ports mapped
to others of one shared address, its `onstart` run at boot, and a /root/thunder and shared memory of its own."""

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.provisioners.networks import OURS, Network, networks
from tests.provisioners.sshd import KNOWN_CODE, free_port, sshd
from tests.provisioners.vast_market import Contract, asked_ports

INSTANCE_FOLDER = Path("/root/thunder")
"""Where a container's own is mounted, in its own view of the files."""
SSH_PORT = 22


class Forward:
    """A port of the shared address that leads to a port in a container."""

    def __init__(self, outer: tuple[str, int], inner: tuple[str, int]) -> None:
        self._inner = inner
        self._listening = socket.create_server(outer)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                try:
                    far = socket.create_connection(self._inner, timeout=10)
                except OSError:
                    near.close()
                    continue
                far.settimeout(None)
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=_pump, args=pair, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what comes, and that no more does."""
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


class Container:
    """One that boots from when it is made, in a thread of its own."""

    def __init__(self, folder: Path, network: Network, shared: str, contract: Contract) -> None:
        self.ports: dict[int, int] = {}
        self.network = network
        self._folder, self._shared = folder, shared
        self._environment = {"CONTAINER_ID": str(contract.contract_id), "CONTAINER_API_KEY": contract.key}
        self._onstart, self._wanted = contract.body.get("onstart") or "", asked_ports(contract.body)
        self._ending = ExitStack()
        self._booting = threading.Thread(target=self._boot, daemon=True)
        self._booting.start()

    def end(self) -> None:
        self._booting.join()
        with suppress(ProcessLookupError):
            for pid in self._pids():
                os.kill(pid, signal.SIGKILL)
        self._ending.close()

    def _boot(self) -> None:
        instance = self._folder / "thunder"
        for folder in (instance, self._folder / ".ssh"):
            folder.mkdir(parents=True)
        (self._folder / ".ssh" / "authorized_keys").symlink_to("../authorized_keys")
        mounts = f'mount --bind "$0" {INSTANCE_FOLDER} && mount -t tmpfs shm /dev/shm && exec "$@"'
        own_view = ("sh", "-c", mounts, str(instance))
        inside = Network(self.network.address, (*self.network.through, *own_view))
        self._ending.enter_context(sshd(self._folder, port=SSH_PORT, network=inside, environment=KNOWN_CODE))
        subprocess.run(
            [*inside.through, "sh", "-c", self._onstart],
            env={"PATH": os.environ["PATH"], "HOME": str(self._folder), **self._environment},
            check=True,
            timeout=60,
        )
        mapped = {port: free_port() for port in (SSH_PORT, *self._wanted)}
        for inner, outer in mapped.items():
            forward = Forward((self._shared, outer), (self.network.address, inner))
            self._ending.callback(forward.close)
        self.ports = mapped

    def _pids(self) -> list[int]:
        name = self.network.through[-1]
        said = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
        return [int(pid) for pid in said.stdout.split()]


class NamespaceContainers:
    """At most as many at a time as there are networks."""

    def __init__(self, folder: Path, places: list[Network], shared: str) -> None:
        self.shared = shared
        self._folder, self._free = folder, places
        self._containers: dict[int, Container] = {}

    def start(self, contract: Contract) -> None:
        folder = self._folder / f"c{contract.contract_id}"
        self._containers[contract.contract_id] = Container(folder, self._free.pop(), self.shared, contract)

    def place(self, contract: Contract) -> tuple[str, dict[int, int]] | None:
        ports = self._containers[contract.contract_id].ports
        return (self.shared, ports) if ports else None

    def end(self, contract: Contract) -> None:
        ended = self._containers.pop(contract.contract_id)
        ended.end()
        self._free.append(ended.network)

    def close(self) -> None:
        for container in self._containers.values():
            container.end()


@contextmanager
def namespace_containers(folder: Path, count: int, subnet: int = 9) -> Iterator[NamespaceContainers]:
    """Room for so many, until the block ends. Raises Unavailable."""
    with networks(count, subnet) as places:
        made = not INSTANCE_FOLDER.exists()
        INSTANCE_FOLDER.mkdir(exist_ok=True)
        containers = NamespaceContainers(folder, places, OURS.format(subnet=subnet))
        try:
            yield containers
        finally:
            containers.close()
            if made:
                INSTANCE_FOLDER.rmdir()
