"""Networks of their own for hosts that run on this machine: each with an address, joined by a switch that we are at."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

OURS = "10.213.{subnet}.1"


class Unavailable(Exception):
    """Why there can be none here."""


@dataclass(frozen=True, slots=True)
class Network:
    """One host's: its address, and what a command is run through to be in it; `wire` is our end of the way to it."""

    address: str
    through: tuple[str, ...]
    wire: str = ""


@contextmanager
def networks(count: int, subnet: int = 7) -> Iterator[list[Network]]:
    """So many, gone when the block ends. Raises Unavailable."""
    if os.geteuid():
        raise Unavailable("network namespaces are root's to make")
    switch = f"thsw{os.getpid()}"
    with ExitStack() as ending:
        ending.callback(_run, f"ip link del {switch}", check=False)
        _run(f"ip link add {switch} type bridge")
        _run(f"ip addr add {OURS.format(subnet=subnet)}/24 dev {switch}")
        _run(f"ip link set {switch} up")
        made = []
        for number in range(count):
            name, wire = (f"{kind}{os.getpid()}n{number}" for kind in ("thns", "thw"))
            address = f"10.213.{subnet}.{10 + number}"
            _run(f"ip netns add {name}")
            ending.callback(_run, f"ip netns del {name}", check=False)
            _run(f"ip link add {wire} type veth peer name wire netns {name}")
            ending.callback(_run, f"ip link del {wire}", check=False)  # the namespace's end takes it along, but later
            _run(f"ip link set {wire} master {switch} up")
            _run(f"ip -n {name} addr add {address}/24 dev wire")
            _run(f"ip -n {name} link set wire up")
            _run(f"ip -n {name} link set lo up")
            made.append(Network(address, ("ip", "netns", "exec", name), wire))
        yield made


def _run(command: str, *, check: bool = True) -> None:
    try:
        subprocess.run(command.split(), check=check, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise Unavailable(f"{error.filename} is not installed") from error
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"`{command}` says {error.stderr.strip()}") from error
