"""The layouts of attention backends on the device's tensors: the same as on the CPU, and how quick they are."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.gpu.device import Device, rate
from runtime.connector.layouts import page_layout, read, write

BACKENDS = ("FLASH_ATTN", "TRITON_ATTN", "FLASHINFER", "FLEX_ATTENTION")
HEADS, SLOTS, DIM = 8, 16, 128
ORDERS = {"heads first": (0, 1, 2, 3), "slots first": (0, 2, 1, 3)}
"""How a page lies in memory; axes are the same."""
HEAD = ("| page in memory | layers | tokens | read, GB/s | write, GB/s |", "|---|--:|--:|--:|--:|")


def differences(device: Device) -> Iterator[tuple[str, bool]]:
    """Read and written on the device as on the CPU, blocks in any order, the last one half full."""
    for backend in BACKENDS:
        for name, order in ORDERS.items():
            yield f"{backend}, {name}", _same(device, backend, order)


def _same(device: Device, backend: str, order: tuple[int, ...]) -> bool:
    layout = page_layout(backend)
    caches = [_cache(8, order, seed) for seed in range(2)]
    there = [_like(cache, device) for cache in caches]
    ids, tokens = torch.tensor([5, 0, 3]), 2 * SLOTS + SLOTS // 2
    expected = read(layout, caches, ids, tokens)
    found = read(layout, there, ids.to(device.torch), tokens)
    alike = all(torch.equal(one.cpu(), other) for one, other in zip(found, expected, strict=True))
    write(layout, caches, torch.tensor([1, 2, 7]), *expected)
    write(layout, there, torch.tensor([1, 2, 7], device=device.torch), *found)
    return alike and all(torch.equal(one.cpu(), other) for one, other in zip(there, caches, strict=True))


def _cache(blocks: int, order: tuple[int, ...], seed: int) -> Tensor:
    shape = [(blocks, HEADS, SLOTS, 2 * DIM)[axis] for axis in order]
    made = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(torch.bfloat16)
    return made.permute(order)


def _like(cache: Tensor, device: Device) -> Tensor:
    """On the device, with the same strides."""
    return torch.empty_strided(cache.shape, cache.stride(), dtype=cache.dtype, device=device.torch).copy_(cache)


def speeds(device: Device) -> Iterator[str]:
    """Bytes are those of KV, read and written once each. Blocks lie scattered, as a busy engine's do."""
    layers, blocks = device.sized(8, 2), device.sized(1024, 4)
    tokens = blocks // 2 * SLOTS
    layout = page_layout(BACKENDS[0])
    yield from HEAD
    for name, order in ORDERS.items():
        caches = [_like(_cache(blocks, order, seed), device) for seed in range(layers)]
        ids = torch.randperm(blocks, generator=torch.Generator().manual_seed(3))[: blocks // 2].to(device.torch)
        keys, values = read(layout, caches, ids, tokens)
        moved = 2 * (keys.nbytes + values.nbytes)
        reading = rate(moved, device.seconds(partial(read, layout, caches, ids, tokens)))
        writing = rate(moved, device.seconds(partial(write, layout, caches, ids, keys, values)))
        yield f"| {name} | {layers} | {tokens} | {reading} | {writing} |"
