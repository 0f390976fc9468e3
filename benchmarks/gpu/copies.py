"""Copies between the device and host memory, pageable and pinned; the connector's own are pageable so far."""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.gpu.device import Device, rate

MEBIBYTE = 1 << 20
SIZES_MIB = (1, 16, 256)
HEAD = (
    "| MiB | to the host: pageable, GB/s | pinned | to the device: pageable | pinned |",
    "|--:|--:|--:|--:|--:|",
)


def table(device: Device) -> Iterator[str]:
    yield from HEAD
    for mebibytes in SIZES_MIB[: device.sized(len(SIZES_MIB), 1)]:
        there = torch.zeros(mebibytes * MEBIBYTE, dtype=torch.uint8, device=device.torch)
        hosts = [torch.empty_like(there, device="cpu"), _pinned(device, there)]
        out = (rate(there.nbytes, device.seconds(partial(host.copy_, there, non_blocking=True))) for host in hosts)
        back = (rate(there.nbytes, device.seconds(partial(there.copy_, host, non_blocking=True))) for host in hosts)
        yield f"| {mebibytes} | {' | '.join(out)} | {' | '.join(back)} |"


def _pinned(device: Device, like: torch.Tensor) -> torch.Tensor:
    """Only CUDA can pin."""
    return torch.empty(like.shape, dtype=like.dtype, pin_memory=device.is_real)


def crosses_unchanged(device: Device) -> bool:
    """Random bytes, to pinned memory and back."""
    sent = torch.randint(0, 256, (MEBIBYTE,), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    host = _pinned(device, sent)
    host.copy_(sent.to(device.torch))
    return bool(torch.equal(host.to(device.torch).cpu(), sent))
