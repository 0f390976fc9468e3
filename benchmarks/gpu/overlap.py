"""Encoding, and copying out what it gives, beside the engine's own work: matrix products on another stream."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.gpu.codec import SPLITS, made_up
from benchmarks.gpu.device import Device, milliseconds
from runtime.connector.side_stream import SideStream
from runtime.tiles.geometry import GROUP_TOKENS, Geometry

WIDTH, PRODUCTS = 8192, 40
HEAD_DIM, DTYPE = 128, "bfloat16"
Work = Callable[[], object]
HEAD = (
    "| on the side stream | products alone, ms | it alone | in turn | beside each other | both ÷ products |",
    "|---|--:|--:|--:|--:|--:|",
)


def table(device: Device) -> Iterator[str]:
    """What is hidden is the difference between in turn and beside each other."""
    yield from HEAD
    products = multiplying(device)
    for name, side in sides(device):
        alone, own = device.seconds(products), device.seconds(side)
        after = device.seconds(partial(_in_turn, products, side))
        both = device.seconds(partial(beside, device, products, side))
        slowed = f"{both / alone:.2f} x" if both and alone else "–"
        cells = " | ".join(map(milliseconds, (alone, own, after, both)))
        yield f"| {name} | {cells} | {slowed} |"


def multiplying(device: Device) -> Work:
    """What an engine does meanwhile, in pieces as long as a prompt's layers."""
    width = device.sized(WIDTH, 16)
    a, b = (torch.randn(width, width, device=device.torch).to(torch.bfloat16) for _ in range(2))
    into = torch.empty_like(a)

    def multiply() -> None:
        for _ in range(device.sized(PRODUCTS, 1)):
            torch.mm(a, b, out=into)

    return multiply


def sides(device: Device) -> Iterator[tuple[str, Work]]:
    """The KV of a long prompt: encoded; encoded and copied to pinned memory; copied there raw."""
    from runtime.codec import on_gpu

    geometry = Geometry(1, 1, HEAD_DIM, DTYPE)
    tiles = device.sized(1 << 14, 2)
    keys, values = (one.to(device.torch) for one in next(made_up(tiles, GROUP_TOKENS, HEAD_DIM, DTYPE)))
    for name in ("int4", "int8"):
        encode = partial(on_gpu.encode_tiles, geometry, SPLITS[name], keys, values)
        host = torch.empty(encode().shape, dtype=torch.uint8, pin_memory=device.is_real)
        yield f"{name}: encode", encode
        yield f"{name}: encode, copy out", partial(_out, encode, host)
    raw = torch.empty(keys.shape, dtype=keys.dtype, pin_memory=device.is_real)
    yield "raw: copy out", partial(_out, lambda: keys, raw)


def _out(made: Callable[[], Tensor], host: Tensor) -> None:
    host.copy_(made(), non_blocking=True)


def _in_turn(first: Work, second: Work) -> None:
    first()
    second()


def beside(device: Device, products: Work, side: Work) -> None:
    """The products are launched first: encoding keeps the host waiting, to learn whether it was refused."""
    if not device.is_real:
        _in_turn(products, side)
        return
    own, stream = torch.cuda.current_stream(), torch.cuda.Stream()
    stream.wait_stream(own)
    products()
    with torch.cuda.stream(stream):
        side()
    own.wait_stream(stream)


def in_order(device: Device) -> bool:
    """The connector's side stream: it begins behind what was marked, and what comes after finds its work done."""
    width = device.sized(WIDTH, 16)
    block = torch.zeros(width, width, device=device.torch)
    side = SideStream(device.torch)
    found = []
    for step in range(1, 9):
        for _ in range(device.sized(PRODUCTS, 2)):
            block.add_(1.0)
        with side.after(side.mark()):
            block.fill_(-step)
        found.append((block == -step).all())
    return all(map(bool, found))
