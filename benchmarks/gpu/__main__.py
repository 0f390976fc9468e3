"""KV on a GPU: codecs, copies, overlap and page layouts; writes `benchmarks/results/gpu_DEVICE.md`.

    .venv-engine/bin/python -m benchmarks.gpu [--heads 64 128]

With the torch and Triton of wherever it runs; no vLLM is needed. Without a GPU the kernels are interpreted at a small
size, which shows that they are correct and nothing else: the page is printed and no file is written. Ends with 1 where
anything differs from the reference.
"""

import argparse
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.gpu.device import INTERPRETED, REPEATS, Device

RESULTS = Path(__file__).parents[1] / "results"
COMMAND = "python -m benchmarks.gpu"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--heads", type=int, nargs="+", help="values a head of the KV that codecs are compared on")
    asked = options.parse_args()
    device = Device.found()
    checks = list(checked(device, tuple(asked.heads or ())))
    text = "\n".join([*header(device), "", *correctness(checks), *(timings(device) if device.is_real else ())]) + "\n"
    if device.is_real:
        (RESULTS / device.page).write_text(text, encoding="utf-8")
    print(text)
    return 0 if all(same for _, same in checks) else 1


def checked(device: Device, heads: tuple[int, ...] = ()) -> Iterator[tuple[str, bool]]:
    """Every comparison, by name. What uses Triton is imported once it is known whether it is to be interpreted."""
    from benchmarks.gpu import codec, copies, overlap, pages

    compared = heads or (codec.HEADS if device.is_real else codec.SPEED_HEADS)
    yield from ((f"codec: {name}", same) for name, same in codec.differences(device, compared))
    yield from ((f"layout: {name}", same) for name, same in pages.differences(device))
    yield "bytes through pinned memory and back", copies.crosses_unchanged(device)
    yield "side stream: behind what was marked, before what follows", overlap.in_order(device)


def correctness(checks: list[tuple[str, bool]]) -> Iterator[str]:
    differing = [name for name, same in checks if not same]
    yield from ("## Correctness", "")
    yield f"{len(checks) - len(differing)} of {len(checks)} comparisons with the CPU were bit for bit alike."
    yield from (f"* differs: {name}" for name in differing)
    yield from ("", *(f"* {name}" for name, same in checks if same))


def timings(device: Device) -> Iterator[str]:
    from benchmarks.gpu import codec, copies, overlap, pages

    yield from ("", "## Codec kernels", "", "Bytes read and written, of KV in 16 bits and of its payload.", "")
    yield from codec.speeds(device)
    yield from ("", "## Copies", "", *copies.table(device))
    yield from ("", "## Beside matrix products", "")
    yield f"{overlap.PRODUCTS} products of {overlap.WIDTH} x {overlap.WIDTH} in bf16, and the KV of a long prompt."
    yield from ("", *overlap.table(device))
    yield from ("", "## Page layouts", "", *pages.speeds(device))


def header(device: Device) -> Iterator[str]:
    triton = sys.modules["triton"].__version__
    yield f"# KV on a GPU: {device.name or INTERPRETED}"
    yield ""
    yield f"Made by `{COMMAND}`: torch {torch.__version__}, Triton {triton}, Python {platform.python_version()}."
    if device.is_real:
        yield f"CUDA {torch.version.cuda}. Times are the device's, the median of {REPEATS} after two not counted."
        return
    yield f"There is no GPU here, so Triton's kernels are {INTERPRETED}."


if __name__ == "__main__":
    sys.exit(main())
