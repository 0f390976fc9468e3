"""How quickly tiles go from agent to agent; writes `benchmarks/results/kv_relay.md`.

.venv/bin/python -m benchmarks.kv_relay

Two agents in processes of their own, mutual TLS 1.3; a pull is timed by the engine that asks for it. On loopback it is
held against a bare blocking `ssl` socket, in turns; over links shaped by `tc tbf` between network namespaces, against
the line. Making those takes root: without it that table says why it is empty.
"""

import os
import platform
import ssl
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.arguments import takes_none
from benchmarks.kv_relay_agents import Side, agent_pair
from benchmarks.kv_relay_bare import bare_link
from benchmarks.kv_relay_shaped import shaped_pair
from benchmarks.shaped_line import Unavailable
from planner.deployment import Codec
from runtime.tiles.format import KvFormat
from runtime.tiles.geometry import Geometry
from thunderctl.calibration.record import Machine

TARGET = Path(__file__).parent / "results" / "kv_relay.md"
MODEL = Geometry(32, 8, 128, "bfloat16")
SENT = {
    "raw": KvFormat(MODEL, 2048, Codec.RAW, 0),
    "int8": KvFormat(MODEL, 4096, Codec.INT8, 0),
    "int4": KvFormat(MODEL, 8192, Codec.INT4, 0),
}
LINES = {0.1: KvFormat(MODEL, 512, Codec.INT4, 0), 1.0: KvFormat(MODEL, 4096, Codec.INT4, 0)}
ROUNDS, LINE_ROUNDS = 7, 3
TARGET_RATIO, TARGET_LINE = 0.7, 0.92
GIGABYTE, MIB = 1e9, 1 << 20


def main() -> None:
    text = "\n".join([*header(), *loopback_table(), *line_table()])
    TARGET.write_text(text + "\n", encoding="utf-8")
    print(text)


def header() -> Iterator[str]:
    machine = Machine.here()
    yield "# KV relay: how quickly tiles go from agent to agent"
    yield ""
    yield f"Measured by `benchmarks/kv_relay.py` on {machine.cores} cores of {machine.cpu} ({platform.machine()}),"
    yield f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}. Two agents, each in a process of its own, over"
    yield "mutual TLS 1.3. A pull is timed by the engine that asks for it, from its question to the last tile checked"
    yield f"in the pool. The load average was {os.getloadavg()[0]:.1f} when this began: others took their share of"
    yield f"the cores. KV of {MODEL.layers} layers with {MODEL.kv_heads} heads of {MODEL.head_dim}, {MODEL.dtype}."


def loopback_table() -> Iterator[str]:
    """Every codec's frames beside as many bytes sent bare, in turns; medians."""
    yield from ("", "## Loopback, beside a bare blocking `ssl` socket", "")
    yield f"Medians of {ROUNDS} rounds, the two in turns; one round before them is not counted. The bare sender checks,"
    yield "frames and bounds nothing; what it sends is chance, as tiles are. Both ends share this machine's cores, with"
    yield "whatever else it runs."
    yield ""
    yield "| frames | MiB | a tile, bytes | bare, GB/s | pull, GB/s | ratio | lowest and highest ratio of a round |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    reached = []
    for name, kv_format in SENT.items():
        size, bare_s, pull_s = loopback_rounds(kv_format)
        ratios = [bare / pull for bare, pull in zip(bare_s, pull_s, strict=True)]
        reached.append(statistics.median(ratios))
        bare, pull = (size / statistics.median(taken) / GIGABYTE for taken in (bare_s, pull_s))
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        tile_bytes = kv_format.frame_bytes(0, 1)
        yield f"| {name} | {size / MIB:.0f} | {tile_bytes} | {bare:.2f} | {pull:.2f} | {reached[-1]:.2f} | {spread} |"
    yield ""
    yield f"Target of {TARGET_RATIO}x: {verdict(reached, TARGET_RATIO)}"


def loopback_rounds(kv_format: KvFormat) -> tuple[int, list[float], list[float]]:
    """Bytes of one round; seconds of each, bare and pulled."""
    with (
        tempfile.TemporaryDirectory() as folder,
        agent_pair(Path(folder), kv_format, (Side("p"), Side("d"))) as pair,
        bare_link(Path(folder), pair.bytes) as link,
    ):
        rounds = [(link.pull(), pair.pull()) for _ in range(ROUNDS + 1)][1:]
        bare_s, pull_s = (list(taken) for taken in zip(*rounds, strict=True))
        return pair.bytes, bare_s, pull_s


def line_table() -> Iterator[str]:
    yield from ("", "## Over a shaped line", "")
    yield "Each agent in a network namespace of its own, between them a pair of virtual wires shaped both ways by"
    yield "`tc tbf`. Of the line: tiles with their headers and nothing else, against the rate of Ethernet frames. No"
    yield "delay is added (this kernel has no `netem`)."
    yield ""
    try:
        rows = [line_row(gbit_per_s, kv_format) for gbit_per_s, kv_format in LINES.items()]
    except Unavailable as why:
        yield f"Not measured here: {why}."
        return
    yield "| line, Gbit/s | MiB | median, Gbit/s | of the line |"
    yield "| --- | --- | --- | --- |"
    yield from (row for row, _ in rows)
    yield ""
    yield f"Target of {TARGET_LINE:.0%}: {verdict([share for _, share in rows], TARGET_LINE)}"


def line_row(gbit_per_s: float, kv_format: KvFormat) -> tuple[str, float]:
    with tempfile.TemporaryDirectory() as folder, shaped_pair(Path(folder), kv_format, gbit_per_s) as pair:
        taken_s = statistics.median([pair.pull() for _ in range(LINE_ROUNDS + 1)][1:])
        got = pair.bytes * 8 / taken_s / GIGABYTE
        row = f"| {gbit_per_s:g} | {pair.bytes / MIB:.0f} | {got:.3f} | {got / gbit_per_s:.1%} |"
        return row, got / gbit_per_s


def verdict(reached: list[float], target: float) -> str:
    return "**met**" if min(reached) >= target else f"**missed** ({min(reached):.2f})"


if __name__ == "__main__":
    takes_none(__doc__)
    sys.exit(main())
