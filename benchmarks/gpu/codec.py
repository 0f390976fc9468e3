"""The Triton codecs: the same bytes as the reference, whatever the KV, and how quick they are beside a plain copy."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.gpu.device import Device, rate
from runtime.codec import reference
from runtime.codec.protocol import TORCH_DTYPE, CannotEncode
from runtime.tiles.geometry import GROUP_TOKENS, Geometry, Parts

SPLITS = {
    "int8": Parts(0, GROUP_TOKENS, 0),
    "int4": Parts(0, 0, GROUP_TOKENS),
    "int8 then int4": Parts(0, 16, 48),
    "a prompt's end": Parts(0, 5, 0),
}
DTYPES, HEADS = ("bfloat16", "float16"), (64, 80, 128, 256)
SPEED_HEADS = (64, 128)
TIMED = ("int8", "int4")
HEAD = (
    "| cache | codec | device copy, GB/s | encode, GB/s | decode, GB/s |",
    "|---|---|--:|--:|--:|",
)


def differences(device: Device, heads: tuple[int, ...] = HEADS) -> Iterator[tuple[str, bool]]:
    """What was compared with the reference on the CPU, and whether all of it was the same, bit for bit."""
    tiles = device.sized(256, 2)
    for dtype in DTYPES:
        for head_dim in heads:
            geometry = Geometry(1, 1, head_dim, dtype)
            for name, parts in SPLITS.items():
                kinds = made_up(tiles, sum(parts), head_dim, dtype)
                same = all(_same(device, geometry, parts, keys, values) for keys, values in kinds)
                yield f"{dtype}, {head_dim} a head, {name}", same


def made_up(tiles: int, tokens: int, head_dim: int, dtype: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Gaussian KV; with channels that stand off; all alike; and any bits at all, NaN and infinities too."""
    shape = (2, tiles, tokens, head_dim)
    plain = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    standing_off = plain.clone()
    standing_off[..., ::17] += 60.0
    bits = torch.randint(-(1 << 15), 1 << 15, shape, generator=torch.Generator().manual_seed(1), dtype=torch.int16)
    for one in (plain, standing_off, torch.full(shape, 0.37)):
        keys, values = one.to(TORCH_DTYPE[dtype])
        yield keys, values
    keys, values = bits.view(TORCH_DTYPE[dtype])
    yield keys, values


def _same(device: Device, geometry: Geometry, parts: Parts, keys: Tensor, values: Tensor) -> bool:
    """Payload and what is read back, or the refusal: as the reference has it."""
    from runtime.codec import on_gpu

    there = keys.to(device.torch), values.to(device.torch)
    try:
        expected = reference.encode_tiles(geometry, parts, keys, values)
    except CannotEncode:
        return _refuses(geometry, parts, *there)
    payload = on_gpu.encode_tiles(geometry, parts, *there)
    back = on_gpu.decode_tiles(geometry, parts, expected.to(device.torch))
    restored = reference.decode_tiles(geometry, parts, expected)
    same = (torch.equal(_bits(one.cpu()), _bits(other)) for one, other in zip(back, restored, strict=True))
    return torch.equal(payload.cpu(), expected) and all(same)


def _refuses(geometry: Geometry, parts: Parts, keys: Tensor, values: Tensor) -> bool:
    from runtime.codec import on_gpu

    try:
        on_gpu.encode_tiles(geometry, parts, keys, values)
    except CannotEncode:
        return True
    return False


def _bits(part: Tensor) -> Tensor:
    """Compared as bits, a negative zero differs from zero."""
    return part.contiguous().view(torch.int16)


def speeds(device: Device) -> Iterator[str]:
    """Bytes are those read and written: of KV in 16 bits, and of its payload."""
    from runtime.codec import on_gpu

    tiles = device.sized(1 << 15, 2)
    yield from HEAD
    for dtype in DTYPES:
        for head_dim in SPEED_HEADS:
            geometry = Geometry(1, 1, head_dim, dtype)
            keys, values = (one.to(device.torch) for one in next(made_up(tiles, GROUP_TOKENS, head_dim, dtype)))
            target = torch.empty_like(keys)
            copied = rate(2 * keys.nbytes, device.seconds(partial(target.copy_, keys)))
            for name in TIMED:
                work = geometry, SPLITS[name]
                payload = on_gpu.encode_tiles(*work, keys, values)
                moved = 2 * keys.nbytes + payload.nbytes
                encoding = rate(moved, device.seconds(partial(on_gpu.encode_tiles, *work, keys, values)))
                decoding = rate(moved, device.seconds(partial(on_gpu.decode_tiles, *work, payload)))
                yield f"| {dtype}, {head_dim} a head | {name} | {copied} | {encoding} | {decoding} |"
