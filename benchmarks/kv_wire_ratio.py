"""Write `benchmarks/results/kv_wire_ratio.md`: bytes on the wire, and speed on one core, of the KV codecs.

Run in the engine environment: `PYTHONPATH=. .venv-engine/bin/python benchmarks/kv_wire_ratio.py`. Two relays talk over
TLS 1.3 on loopback through a forwarder that counts every byte of the connection, both ways, requests included. KV is
made up (a seed fixes it): bytes do not depend on it, speed hardly does.
"""

import asyncio
import platform
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from aiohttp import web

from benchmarks.arguments import takes_none
from planner.deployment import Codec
from runtime.codec import compiled
from runtime.codec.protocol import TORCH_DTYPE
from runtime.codec.rows import Rows, decode, encode, rows_of
from runtime.relay.port import SharedPort
from runtime.relay.pulls import PullServer
from runtime.relay.relay import Relay
from runtime.relay.server import add_relay_routes
from runtime.tiles.format import KvFormat
from runtime.tiles.geometry import Geometry
from runtime.tiles.layout import Layout
from runtime.tls import client_context, server_context
from thunderctl.calibration.record import Machine
from thunderctl.keys.certificates import ensure_authority, issue

TARGET = Path(__file__).parent / "results" / "kv_wire_ratio.md"
SEED = 20260801
LENGTHS = (128, 512, 1024, 2048, 2111, 3000, 4096)
SHAPED_TOKENS = 2048
TIMED_TOKENS = (193, 513, 2048)
REPEATS = 9
TINY = Geometry(layers=8, kv_heads=2, head_dim=64, dtype="float16")
LLAMA_8B = Geometry(layers=32, kv_heads=8, head_dim=128, dtype="bfloat16")
SCHEMES = {
    "raw": (Codec.RAW, 0),
    "int8": (Codec.INT8, 0),
    "int4, first and last 2 layers int8 (default)": (Codec.INT4, 2),
    "int4, no boundary layers": (Codec.INT4, 0),
}
KV = tuple[torch.Tensor, torch.Tensor]


class CountedLink:
    """Forwards TCP to a port and counts the bytes."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.bytes = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            self.bytes += len(data)
            writer.write(data)
            await writer.drain()
        writer.close()


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    compiled.warm_up()
    with tempfile.TemporaryDirectory() as folder:
        crossed = asyncio.run(wire_bytes(Path(folder)))
    text = "\n".join([*header(), *ratio_table(crossed), *model_table(), *speed_table()])
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(text + "\n", encoding="utf-8")
    print(text)


async def wire_bytes(folder: Path) -> dict[str, list[int]]:
    """Bytes that cross for one ticket of each scheme and length, over a connection that is open already."""
    ensure_authority(folder / "ca")
    source, target = (_relay(folder, name) for name in "pd")
    app = web.Application()
    add_relay_routes(app, source)
    runner = web.AppRunner(app)
    await runner.setup()
    listener, context = socket.create_server(("127.0.0.1", 0)), server_context(folder / "p")
    shared = SharedPort(listener, runner, PullServer(source, context), context)
    await shared.start()
    link = CountedLink(listener.getsockname()[1])
    await link.open()
    await target.start()
    await cross(source, target, link, KvFormat(TINY, 1, Codec.RAW))
    crossed = {
        name: [await cross(source, target, link, KvFormat(TINY, tokens, *scheme)) for tokens in LENGTHS]
        for name, scheme in SCHEMES.items()
    }
    await target.close()
    await shared.close()
    await runner.cleanup()
    return crossed


def _relay(folder: Path, name: str) -> Relay:
    issue(folder / "ca", f"{name}.agent.thunder", folder / name)
    return Relay(
        agent_name=f"{name}.agent.thunder",
        advertise=("127.0.0.1", 0),
        pool_bytes=64 << 20,
        ssl_context=client_context(folder / name),
    )


async def cross(source: Relay, target: Relay, link: CountedLink, kv_format: KvFormat) -> int:
    ticket, region = source.reserve(kv_format, "benchmark", owner="benchmark", ranks=1, readers=1)
    encode_all(kv_format, made_up(kv_format), source.pool.view(region), ticket.tag)
    source.encoded(ticket.ticket, 0, 0.0)
    by_link, before = replace(ticket, agent=replace(ticket.agent, port=link.port)), link.bytes
    target.release(await target.fetch(by_link, kv_format.whole, timeout_s=30))
    await target.acknowledge_at_source(by_link)
    return link.bytes - before


def made_up(kv_format: KvFormat) -> KV:
    """Gaussian K and V, `[layers, heads, tokens, channels]`; some channels of K stand far off, as in real models."""
    geometry = kv_format.geometry
    shape = (geometry.layers, geometry.kv_heads, kv_format.tokens, geometry.head_dim)
    offsets = torch.randn(geometry.layers, 1, 1, geometry.head_dim) * 3
    dtype = TORCH_DTYPE[geometry.dtype]
    return (torch.randn(shape) + offsets).to(dtype), torch.randn(shape).to(dtype)


def encode_all(kv_format: KvFormat, kv: KV, into: memoryview, tag: bytes) -> None:
    for rows in all_rows(kv_format):
        keys, values = (part[slice(*rows.box.layers)] for part in kv)
        encode(rows, keys, values, into[rows.offset : rows.offset + rows.size], tag, compiled)


def decode_all(kv_format: KvFormat, frames: memoryview, tag: bytes) -> None:
    for rows in all_rows(kv_format):
        decode(rows, frames[rows.offset : rows.offset + rows.size], tag, compiled)


def all_rows(kv_format: KvFormat) -> Iterator[Rows]:
    return rows_of(Layout(kv_format, kv_format.whole), kv_format.whole)


def header() -> list[str]:
    return [
        "# KV codecs: bytes on the wire and speed",
        "",
        f"Measured by `benchmarks/kv_wire_ratio.py` (seed {SEED}) on one core of {Machine.here().cpu}",
        f"({platform.machine()}), Python {platform.python_version()}, torch {torch.__version__}. KV of",
        "examples/tiny-llama's shape: 8 layers, 2 KV heads of 64, fp16, 4 KiB a token.",
    ]


def ratio_table(crossed: dict[str, list[int]]) -> list[str]:
    columns = [f"{tokens:,}" for tokens in LENGTHS]
    lines = ["", "## Times fewer bytes than `raw`, by prompt tokens", ""]
    lines += ["All bytes of the TLS connection, both ways: frames and their headers, questions, TLS records.", ""]
    lines += _row("codec", *columns), _row(*["---"] * (len(columns) + 1))
    lines += [_row("raw, MB", *(f"{size / 1e6:.3f}" for size in crossed["raw"]))]
    for name, sizes in list(crossed.items())[1:]:
        lines.append(_row(name, *(f"{raw / size:.3f}" for raw, size in zip(crossed["raw"], sizes, strict=True))))
    return lines


def model_table() -> list[str]:
    """Computed, not measured: what the same rules give where 4 boundary layers weigh less."""
    lines = ["", f"## Computed for other shapes, {SHAPED_TOKENS:,} tokens", ""]
    lines += ["Frames with headers, from the layout alone; most of a model is not boundary.", ""]
    lines += [_row("shape", *list(SCHEMES)[1:]), _row(*["---"] * len(SCHEMES))]
    for name, geometry in (("tiny-llama: 8 x 2 x 64", TINY), ("Llama-3.1-8B: 32 x 8 x 128", LLAMA_8B)):
        sizes = [_size(KvFormat(geometry, SHAPED_TOKENS, *scheme)) for scheme in SCHEMES.values()]
        lines.append(_row(name, *(f"{sizes[0] / size:.3f}" for size in sizes[1:])))
    return lines


def speed_table() -> list[str]:
    lines = ["", "## CPU time on one core, by prompt tokens", ""]
    lines += [f"ms of the one thread, median of {REPEATS}; headers and checksums included.", ""]
    columns = [f"{what} {tokens:,}" for what in ("encode", "decode") for tokens in TIMED_TOKENS]
    lines += [_row("codec", *columns), _row(*["---"] * (len(columns) + 1))]
    for name, scheme in SCHEMES.items():
        encoding_s, decoding_s = zip(*(cpu_s(KvFormat(TINY, tokens, *scheme)) for tokens in TIMED_TOKENS), strict=True)
        lines.append(_row(name, *(f"{taken_s * 1e3:.1f}" for taken_s in (*encoding_s, *decoding_s))))
    return lines


def cpu_s(kv_format: KvFormat) -> tuple[float, float]:
    """To encode and to decode a prompt."""
    kv, frames = made_up(kv_format), memoryview(bytearray(_size(kv_format)))
    encoding_s = median_cpu_s(lambda: encode_all(kv_format, kv, frames, bytes(8)))
    return encoding_s, median_cpu_s(lambda: decode_all(kv_format, frames, bytes(8)))


def median_cpu_s(work: Callable[[], None]) -> float:
    taken = []
    for _ in range(REPEATS):
        started = time.thread_time()
        work()
        taken.append(time.thread_time() - started)
    return statistics.median(taken)


def _size(kv_format: KvFormat) -> int:
    return Layout(kv_format, kv_format.whole).size


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    takes_none(__doc__)
    main()
