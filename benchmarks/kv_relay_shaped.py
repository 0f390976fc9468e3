"""Two agents in two network namespaces, on a pair of virtual wires shaped to a rate both ways; all of it made here."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.kv_relay_agents import AgentPair, Side, agent_pair
from runtime.tiles.format import KvFormat

ADDRESSES = ("10.213.7.1", "10.213.7.2")
BURST_BYTES = 128 << 10
QUEUE_S = 0.05


class Unavailable(Exception):
    """This machine does not let us make a network; the text says what it said."""


@contextmanager
def shaped_pair(folder: Path, kv_format: KvFormat, gbit_per_s: float) -> Iterator[AgentPair]:
    """Raises Unavailable."""
    names = tuple(f"thkv{os.getpid()}{side}" for side in "pd")
    try:
        _make(names, gbit_per_s)
        sides = [
            Side(side, host, ("ip", "netns", "exec", name))
            for side, host, name in zip("pd", ADDRESSES, names, strict=True)
        ]
        with agent_pair(folder, kv_format, sides) as pair:
            yield pair
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _make(names: tuple[str, ...], gbit_per_s: float) -> None:
    for name in names:
        _run(f"ip netns add {name}")
    one, other = names
    _run(f"ip -n {one} link add wire type veth peer name wire netns {other}")
    limit_bytes = int(gbit_per_s * 1e9 / 8 * QUEUE_S) + BURST_BYTES
    for name, address in zip(names, ADDRESSES, strict=True):
        _run(f"ip -n {name} addr add {address}/24 dev wire")
        _run(f"ip -n {name} link set wire up")
        _run(f"ip -n {name} link set lo up")
        _run(
            f"tc -n {name} qdisc add dev wire root tbf rate {gbit_per_s * 1000:g}mbit "
            f"burst {BURST_BYTES} limit {limit_bytes}"
        )


def _run(command: str) -> None:
    try:
        subprocess.run(command.split(), check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise Unavailable(f"{error.filename} is not installed") from error
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"`{command}` says {error.stderr.strip()}") from error
