"""Measured rows, read: what was measured, of which GPU, model and engine, and the sizes of the batch.

Words are read as people write them: in any case, with spaces around, a model by our name or its repository's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from planner.catalog import GpuType
from planner.costmodel.layer import Amount
from planner.errors import SpecError
from planner.gpus import gpu_named
from planner.llm import LlmSpec
from planner.memory import even_layers
from planner.models import llm_named

KEY_COLUMNS = (
    *("source", "gpu", "model", "tp", "pp", "engine", "phase", "kind"),
    *("batch", "prompt_tokens", "context_tokens"),
)
PHASES, KINDS = ("prefill", "decode"), ("layer", "step", "request")
LINKS = ("pcie", "nvlink", "nvswitch", "vm-network")
SCOPES = ("full", "gemm", "gemm+attn", "elementwise", "model")
"""What a value contains: all of a layer, a part of it, or the whole model."""
MOST = 10**9
"""No count is larger; powers of much larger ones are no floats."""
UNLOADED = ("", "none", "idle")
SIXTEEN_BITS = ("", "auto", "16", "bf16", "bfloat16", "fp16", "float16", "half")


class NotPredictable(Exception):
    """Why a row has no answer."""


@dataclass(frozen=True, slots=True)
class Case:
    """What was measured, but for the sizes of the batch."""

    gpu: str
    model: str
    tp: int
    layers: tuple[int, ...]
    engine: str
    phase: str
    kind: str
    scope: str
    communicates: bool
    link: str
    loaded: bool
    dtype: str = ""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of one row, or of many rows of one case as arrays: sequences, and tokens of each."""

    batch: Amount
    prompt: Amount
    context: Amount
    output: Amount


def case_of(row: Mapping[str, str]) -> Case:
    """What the row measures, its GPU and model known and its words understood."""
    note = notes_of(row)
    phase, kind = _word(row["phase"], "phase", PHASES), _word(row["kind"], "kind", KINDS)
    dtype = _dtype(note)
    llm = llm_of(row["model"], dtype)
    scope = _word(note.get("scope") or ("full" if kind == "layer" else "model"), "scope", SCOPES)
    if (kind == "layer") == (scope == "model"):
        raise NotPredictable(f"a {kind} of scope {scope} has no meaning here")
    tp, pp = _count(row, "tp"), _count(row, "pp")
    if llm.heads % tp:
        raise NotPredictable(f"{llm.heads} heads of {llm.name} cannot be split over TP {tp}")
    return Case(
        gpu=gpu_of_row(row["gpu"].strip()).name,
        model=llm.name,
        tp=tp,
        layers=_layers(note.get("layers_per_stage", ""), llm, pp),
        engine=row["engine"].strip(),
        phase=phase,
        kind=kind,
        scope=scope,
        communicates=note.get("comm", "").lower() != "no",
        link=_word(note["link"], "link", LINKS) if note.get("link") else "",
        loaded=note.get("load", "").lower() not in UNLOADED,
        dtype=dtype,
    )


def sizes_of(row: Mapping[str, str]) -> Sizes:
    """The row's sizes. A request's TPOT under load needs `output_tokens`; its TTFT under load has no closed form."""
    batch, note = float(_count(row, "batch")), notes_of(row)
    phase, kind = row["phase"].strip().lower(), row["kind"].strip().lower()
    prompt, context = (float(_count(row, column, least=0)) for column in ("prompt_tokens", "context_tokens"))
    output = float(_count(note, "output_tokens", least=0)) if note.get("output_tokens") else 0.0
    loaded = note.get("load", "").lower() not in UNLOADED
    if phase == "prefill" and prompt < 1:
        raise NotPredictable("prompt_tokens is 0; a prefill has at least 1")
    if kind == "request" and phase == "prefill" and batch > 1 and loaded:
        raise NotPredictable("TTFT under load is mostly waiting, which depends on how arrivals bunch: simulate it")
    if kind == "request" and phase == "decode" and loaded and not output:
        raise NotPredictable("output_tokens is missing from the note; TPOT under load depends on it")
    return Sizes(batch, prompt, context, output)


def notes_of(row: Mapping[str, str]) -> dict[str, str]:
    """The `key=value` pairs of the row's note."""
    pairs = (part.partition("=") for part in (row.get("note") or "").split(";") if part.strip())
    return {key.strip(): value.strip() for key, _, value in pairs}


@cache
def gpu_of_row(name: str) -> GpuType:
    try:
        return gpu_named(name)
    except SpecError as error:
        raise NotPredictable(error.message) from error


@cache
def llm_of(name: str, dtype: str) -> LlmSpec:
    try:
        return llm_named(name, dtype)
    except SpecError as error:
        raise NotPredictable(error.message) from error


def _dtype(note: Mapping[str, str]) -> str:
    """How weights are stored, under either of its names; the KV cache is in 16 bits."""
    cache_dtype = (note.get("kv_dtype") or note.get("kv_cache_dtype") or "").lower()
    if cache_dtype not in SIXTEEN_BITS:
        raise NotPredictable(f"the KV cache is in {cache_dtype}; expected 16 bits")
    found = (note.get("dtype") or note.get("quantization") or "").lower()
    return "" if found in SIXTEEN_BITS or found == "none" else found


def _layers(text: str, llm: LlmSpec, pp: int) -> tuple[int, ...]:
    """Layers of each stage: "15+15+15+15", or "4x7+4x8" for four stages of 7 and four of 8; else split evenly."""
    if pp > llm.layers:
        raise NotPredictable(f"{llm.layers} layers of {llm.name} cannot be split over PP {pp}")
    if not text:
        return even_layers(llm.layers, pp)
    try:
        counted = [("1x" + part if "x" not in part else part).split("x") for part in text.lower().split("+")]
        layers = [int(size) for times, size in counted for _ in range(min(int(times), pp + 1))]
    except ValueError:
        raise NotPredictable(f"layers_per_stage is {text!r}; expected such as 15+15 or 2x15") from None
    if len(layers) != pp or sum(layers) != llm.layers or min(layers) < 1:
        raise NotPredictable(f"layers_per_stage {text} is not {pp} stages of {llm.layers} layers together")
    return tuple(layers)


def _word(found: str, what: str, known: tuple[str, ...]) -> str:
    word = found.strip().lower()
    if word not in known:
        raise NotPredictable(f"{what} is {found!r}; expected one of {', '.join(filter(None, known))}")
    return word


def _count(row: Mapping[str, str], column: str, *, least: int = 1) -> int:
    try:
        value = float(row[column])
    except (TypeError, ValueError):
        value = -1.0
    if not value.is_integer() or not least <= value <= MOST:
        raise NotPredictable(f"{column} is {row[column]!r}; expected a whole number from {least} to {MOST:.0e}")
    return int(value)
