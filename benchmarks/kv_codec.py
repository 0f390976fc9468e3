"""What the KV codecs cost in quality and what they take in time; writes `benchmarks/results/kv_codec.md`.

.venv-engine/bin/python -m benchmarks.kv_codec
.venv-engine/bin/python -m benchmarks.kv_codec --model FOLDER --text FILE

With a model of your own (a folder as Hugging Face has it, for transformers) and a text, the table of that model is
printed and no file is written. The first form measures the shipped model, one trained to have outlier channels in its
keys (by `examples/tiny-llama/outliers.py`, a minute and a half, unless `--outliers` names its folder), keys made up,
and speeds: those of a GPU too where there is one.
"""

import argparse
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.kv_codec_schemes import DEFAULT, SCHEMES
from benchmarks.kv_codec_speed import REPEATS, cpu_speeds, gpu_speeds
from benchmarks.kv_codec_subject import Subject, measured_table, row
from benchmarks.kv_codec_synthetic import OFFSETS, OUTLIERS, TOKENS, synthetic
from planner.errors import SpecError
from tests.examples.training import TINY_LLAMA, train_module
from thunderctl.calibration.record import Machine

TARGET = Path(__file__).parent / "results" / "kv_codec.md"
SEED = 20261121


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    try:
        text = "\n".join(measured_table(own_subject(args)) if args.model else published(args))
    except SpecError as error:
        sys.exit(f"{error}\n{error.hint or ''}".strip())
    if not args.model:
        TARGET.write_text(text + "\n", encoding="utf-8")
    print(text)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a causal language model")
    parser.add_argument("--text", type=Path, help="file of UTF-8 text that the model has not been trained on")
    parser.add_argument("--tokens", type=int, default=51_200, help="of the text to read")
    parser.add_argument("--window", type=int, default=1024, help="tokens read together, a multiple of 64")
    parser.add_argument("--dtype", choices=("float16", "bfloat16"), default="bfloat16", help="of the cache")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to run the model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--outliers", type=Path, help="folder that examples/tiny-llama/outliers.py has written")
    return parser.parse_args()


def own_subject(args: argparse.Namespace) -> Subject:
    if args.text is None:
        raise SpecError("A --model is given and no --text.", hint="Name a file of text the model has not seen.")
    try:
        text = args.text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"The text can't be read: {error}.", hint="--text names a file of UTF-8 text.") from error
    return subject_of(args, args.model.name, args.model, text, args.dtype)


def subject_of(args: argparse.Namespace, name: str, folder: Path, text: str, dtype: str) -> Subject:
    return Subject(name, folder, text, args.tokens, args.window, dtype, args.device)


def published(args: argparse.Namespace) -> Iterator[str]:
    yield from header()
    train = train_module()
    held_out = "\n".join(text for path, text in sorted(train.stdlib_sources().items()) if train.is_held_out(path))
    with tempfile.TemporaryDirectory() as folder:
        outliers = args.outliers or trained(Path(folder))
        yield from measured_table(subject_of(args, "examples/tiny-llama", TINY_LLAMA, held_out, "float16"))
        name = "The same, trained to have outlier channels in its keys"
        yield from measured_table(subject_of(args, name, outliers, held_out, "bfloat16"))
    yield from synthetic_table()
    yield from cpu_table()
    yield from gpu_table()


def trained(folder: Path) -> Path:
    subprocess.run([sys.executable, TINY_LLAMA / "outliers.py", "--out", folder], check=True, stdout=sys.stderr)
    return folder


def header() -> Iterator[str]:
    yield from (
        "# KV codecs: quality and speed",
        "",
        f"Measured by `benchmarks/kv_codec.py` (seed {SEED}) on one core of {Machine.here().cpu}",
        f"({platform.machine()}), Python {platform.python_version()}, torch {torch.__version__}. The schemes for",
        "comparison are in the benchmark alone.",
        "",
        "Each model reads windows of text that it was not trained on. Every token attends to K and V which have",
        "crossed, its own included, and which were computed exactly before: so each token is predicted as a prompt's",
        "first answer is. Changes, agreement and divergence are against `raw`. Attention: mean KL divergence of the",
        "weights that the last 64 tokens of a window give. Bytes: of a window's frames with their headers; what",
        "crosses a socket besides is in kv_wire_ratio.md. Models this small are a first sign, no proof for large ones:",
        "measure your own with `.venv-engine/bin/python -m benchmarks.kv_codec --model FOLDER --text FILE`.",
    )


def synthetic_table() -> Iterator[str]:
    yield from ("", "## Made-up keys", "")
    yield f"{TOKENS:,} tokens, 128 channels, bf16, Gaussian; {OUTLIERS} channels of each head stand off by so many"
    yield "standard deviations before RoPE turns them. Relative error of K / KL of attention, nats. (The default"
    yield "carries a model's inner layers as `int4, no boundary layers` does, the others as `int8` does.)"
    yield from ("", row("scheme", *(f"offset {offset:g}" for offset in OFFSETS)), row(*["---"] * (len(OFFSETS) + 1)))
    for name, cells in synthetic([scheme for scheme in SCHEMES if scheme is not DEFAULT], SEED):
        yield row(name, *(f"{off:.4f} / {nats:.4f}" for off, nats in cells))


def cpu_table() -> Iterator[str]:
    yield from ("", "## Speed on one CPU core", "")
    yield f"GB of 16-bit KV a second by the thread's CPU time, encode / decode, median of {REPEATS}. With frames:"
    yield "headers, CRCs and all copies besides. `raw` is the reference's in both."
    yield from ("", row("KV", "codec", "reference", "compiled", "compiled, with frames"), row(*["---"] * 5))
    for kv, codec, *speeds in cpu_speeds():
        yield row(kv, f"`{codec}`", *(f"{encoded:.2f} / {decoded:.2f}" for encoded, decoded in speeds))


def gpu_table() -> Iterator[str]:
    yield from ("", "## Speed on a GPU", "")
    if not torch.cuda.is_available():
        yield "Skipped: torch sees no GPU. Tests run the kernels in Triton's interpreter and compile them for H100."
        return
    yield f"{torch.cuda.get_device_name()}, GB a second read and written, by the device's clock, median of {REPEATS}."
    yield from ("", row("KV", "codec", "device's copy", "encode", "decode"), row(*["---"] * 5))
    for kv, codec, copied, speed in gpu_speeds():
        yield row(kv, f"`{codec}`", f"{copied:.0f}", *(f"{moved:.0f} ({moved / copied:.0%})" for moved in speed))


if __name__ == "__main__":
    main()
