"""Two agents in two network namespaces, on a pair of virtual wires shaped to a rate both ways."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.kv_relay_agents import AgentPair, Side, agent_pair
from benchmarks.shaped_line import ADDRESSES, shaped_line
from runtime.tiles.format import KvFormat

BURST_BYTES = 128 << 10
"""Little beside what is sent, and enough for a gigabit line."""


@contextmanager
def shaped_pair(folder: Path, kv_format: KvFormat, gbit_per_s: float) -> Iterator[AgentPair]:
    """Raises Unavailable."""
    with shaped_line() as line:
        line.shape(gbit_per_s * 1000, BURST_BYTES)
        sides = [Side(side, ADDRESSES[end], line.through(end)) for end, side in enumerate("pd")]
        with agent_pair(folder, kv_format, sides) as pair:
            yield pair
