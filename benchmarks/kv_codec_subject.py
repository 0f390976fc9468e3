"""A model and a text to measure the KV codecs on, and the table of what they cost it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from benchmarks.kv_codec_model import Tally, measure
from benchmarks.kv_codec_schemes import DEFAULT, RAW, SCHEMES, Scheme
from planner.errors import SpecError
from runtime.tiles.geometry import GROUP_TOKENS, Geometry

LIMIT_PERPLEXITY, LIMIT_DISAGREEING, LIMIT_NATS = 0.01, 0.05, 0.02
"""The gates of the default `int4`: perplexity's change, tokens whose likeliest successor changes, mean token KL."""
COLUMNS = (
    "scheme",
    "times fewer bytes",
    "error of K",
    "error of V",
    "attention KL, nats",
    "perplexity",
    "change",
    "top-1 agreement",
    "token KL, nats",
)


@dataclass(frozen=True, slots=True)
class Subject:
    """`tokens` of the text are read, `window` at a time; `dtype` is what a served cache would hold."""

    name: str
    folder: Path
    text: str
    tokens: int
    window: int
    dtype: str
    device: str

    def __post_init__(self) -> None:
        if self.window < GROUP_TOKENS or self.window % GROUP_TOKENS:
            raise SpecError(f"A window has {self.window} tokens; expected a multiple of {GROUP_TOKENS}.")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise SpecError("torch sees no GPU.", hint="Leave --device out to run on the CPU.")
        if not (self.folder / "config.json").is_file():
            raise SpecError(
                f"{self.folder} holds no model: it has no config.json.",
                hint="Name a folder as Hugging Face has it: config.json, tokenizer.json, *.safetensors.",
            )

    def model(self) -> PreTrainedModel:
        """On a CPU in float32, where that is quickest: the weights are the same."""
        disable_progress_bar()
        dtype = torch.float32 if self.device == "cpu" else "auto"
        try:
            return AutoModelForCausalLM.from_pretrained(self.folder, dtype=dtype).eval().to(self.device)
        except (OSError, ValueError) as error:
            raise SpecError(f"The model in {self.folder} can't be loaded: {error}") from error

    def windows(self) -> Iterator[Tensor]:
        """Token ids, `[1, window]`; what is left over is not read."""
        tokenizer = AutoTokenizer.from_pretrained(self.folder)
        ids = tokenizer(self.text, add_special_tokens=False, verbose=False)["input_ids"][: self.tokens]
        for start in range(0, len(ids) - self.window + 1, self.window):
            yield torch.tensor([ids[start : start + self.window]])


def measured_table(subject: Subject) -> Iterator[str]:
    geometry, tallies = measure(subject.model(), subject.windows(), subject.dtype, SCHEMES)
    yield from ("", f"## {subject.name}", "")
    yield f"{geometry.layers} layers, {geometry.kv_heads} KV heads of {geometry.head_dim}, {geometry.dtype} cache;"
    yield f"{tallies[0].tokens:,} predicted tokens in windows of {subject.window:,}."
    yield from ("", row(*COLUMNS), row(*["---"] * len(COLUMNS)))
    base = perplexity(tallies[0])
    for scheme, tally in zip(SCHEMES, tallies, strict=True):
        yield row(*cells(scheme, tally, base, geometry, subject.window))
    yield from ("", gates(tallies[SCHEMES.index(DEFAULT)], base))


def cells(scheme: Scheme, tally: Tally, base: float, geometry: Geometry, tokens: int) -> Iterator[str]:
    yield scheme.name
    yield f"{RAW.wire_bytes(geometry, tokens) / scheme.wire_bytes(geometry, tokens):.3f}"
    yield from (f"{math.sqrt(off / size):.4f}" for off, size in zip(tally.off, tally.size, strict=True))
    yield f"{tally.attention / tally.attention_count:.5f}"
    yield f"{perplexity(tally):.3f}"
    yield f"{perplexity(tally) / base - 1:+.3%}"
    yield f"{tally.same / tally.tokens:.2%}"
    yield f"{tally.divergence / tally.tokens:.5f}"


def gates(tally: Tally, base: float) -> str:
    """Whether the default `int4` passes each."""
    change, disagreeing = perplexity(tally) / base - 1, 1 - tally.same / tally.tokens
    nats = tally.divergence / tally.tokens
    verdicts = (
        (f"perplexity {change:+.2%} (at most +{LIMIT_PERPLEXITY:.0%})", change <= LIMIT_PERPLEXITY),
        (f"top-1 {1 - disagreeing:.2%} (at least {1 - LIMIT_DISAGREEING:.0%})", disagreeing <= LIMIT_DISAGREEING),
        (f"token KL {nats:.4f} (at most {LIMIT_NATS})", nats <= LIMIT_NATS),
    )
    return "Gates of the default: " + "; ".join(f"{what}: **{'pass' if ok else 'FAIL'}**" for what, ok in verdicts)


def perplexity(tally: Tally) -> float:
    return math.exp(tally.nats / tally.tokens)


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
