"""Two network namespaces with a pair of virtual wires between them, shaped to a rate both ways; all of it made here."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

ADDRESSES = ("10.213.8.1", "10.213.8.2")
BURST_BYTES = 16 << 10
"""What goes at once: at slow rates it must be little beside what is sent."""
QUEUE_S = 0.05


class Unavailable(Exception):
    """This machine does not let us make a network; the text says what it said."""


@dataclass(frozen=True, slots=True)
class Line:
    """`names` are the namespaces at its ends, whose addresses are `ADDRESSES`."""

    names: tuple[str, str]

    def through(self, end: int) -> tuple[str, ...]:
        """What a command is started through to run at an end."""
        return ("ip", "netns", "exec", self.names[end])

    def shape(self, mbit_per_s: float, burst_bytes: int = BURST_BYTES) -> None:
        """From now on, both ways."""
        for name in self.names:
            _run(f"tc -n {name} qdisc replace dev wire root {shaped(mbit_per_s, burst_bytes)}")


def shaped(mbit_per_s: float, burst_bytes: int = BURST_BYTES) -> str:
    """The queue of a wire's end that sends no faster, as `tc` is told it."""
    limit_bytes = int(mbit_per_s * 1e6 / 8 * QUEUE_S) + burst_bytes
    return f"tbf rate {mbit_per_s:g}mbit burst {burst_bytes} limit {limit_bytes}"


@contextmanager
def shaped_line() -> Iterator[Line]:
    """As fast as the kernel is until it is shaped. Raises Unavailable."""
    one, other = names = (f"thx{os.getpid()}p", f"thx{os.getpid()}d")
    try:
        for name in names:
            _run(f"ip netns add {name}")
        _run(f"ip -n {one} link add wire type veth peer name wire netns {other}")
        for name, address in zip(names, ADDRESSES, strict=True):
            _run(f"ip -n {name} addr add {address}/24 dev wire")
            _run(f"ip -n {name} link set wire up")
            _run(f"ip -n {name} link set lo up")
        yield Line(names)
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _run(command: str) -> None:
    try:
        subprocess.run(command.split(), check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise Unavailable(f"{error.filename} is not installed") from error
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"`{command}` says {error.stderr.strip()}") from error
