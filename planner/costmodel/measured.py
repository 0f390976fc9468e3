"""The cost model's answer for a measured row, in the schema of published latency tables.

A row names what was measured (`phase`, `kind`: one layer, one step, or what a client sees) and, in its `note`, what the
value contains. The measured value itself is never read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from planner.catalog import GpuType
from planner.costmodel.coefficients import Coefficients, fitted
from planner.costmodel.collectives import Interconnect, inside, vm_network
from planner.costmodel.coverage import unmeasured
from planner.costmodel.layer import Amount, LayerCost, Seconds, layer_cost
from planner.costmodel.pace import Pace, pipeline_pace
from planner.errors import SpecError
from planner.gpus import gpu_named
from planner.llm import LlmSpec
from planner.models import llm_named

KEY_COLUMNS = (
    *("source", "gpu", "model", "tp", "pp", "engine", "phase", "kind"),
    *("batch", "prompt_tokens", "context_tokens"),
)
PHASES, KINDS = ("prefill", "decode"), ("layer", "step", "request")
LINKS = ("pcie", "nvlink", "nvswitch", "vm-network")
SCOPES = ("full", "gemm", "gemm+attn", "elementwise", "model")
"""What a value contains: all of a layer, a part of it, or the whole model."""


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
    closed_loop: bool
    dtype: str = ""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of one row, or of many rows of one case as arrays: sequences, and tokens of each."""

    batch: Amount
    prompt: Amount
    context: Amount
    output: Amount


def predict_ms(row: Mapping[str, str]) -> float:
    """Milliseconds for one row; NotPredictable says why there is no answer."""
    case, sizes = case_of(row), sizes_of(row)
    return float(predict_s(case, sizes)) * 1e3


def is_calibrated(row: Mapping[str, str]) -> bool:
    """Whether measured rows of its GPU, and of models of its kind, took part in the fit."""
    case = case_of(row)
    return not unmeasured(_llm(case.model, case.dtype), [_gpu(case.gpu)])


def case_of(row: Mapping[str, str]) -> Case:
    """What the row measures, its GPU and model known and its words understood."""
    note = notes_of(row)
    phase, kind = _word(row["phase"], "phase", PHASES), _word(row["kind"], "kind", KINDS)
    dtype = note.get("dtype", "")
    llm = _llm(row["model"], dtype)
    scope = _word(note.get("scope") or ("full" if kind == "layer" else "model"), "scope", SCOPES)
    if (kind == "layer") == (scope == "model"):
        raise NotPredictable(f"a {kind} of scope {scope} has no meaning here")
    tp, pp = _count(row, "tp"), _count(row, "pp")
    if llm.heads % tp:
        raise NotPredictable(f"{llm.heads} heads of {llm.name} cannot be split over TP {tp}")
    return Case(
        gpu=_gpu(row["gpu"]).name,
        model=llm.name,
        tp=tp,
        layers=_layers(note.get("layers_per_stage", ""), llm, pp),
        engine=row["engine"],
        phase=phase,
        kind=kind,
        scope=scope,
        communicates=note.get("comm") != "no",
        link=_word(note["link"], "link", LINKS) if "link" in note else "",
        closed_loop=_word(note.get("load", ""), "load", ("", "closed-loop", "none")) == "closed-loop",
        dtype=dtype,
    )


def sizes_of(row: Mapping[str, str]) -> Sizes:
    """The row's sizes. A request's TPOT under load needs `output_tokens`; its TTFT under load has no closed form."""
    batch, note = float(_count(row, "batch")), notes_of(row)
    prompt, context = (float(_count(row, column, least=0)) for column in ("prompt_tokens", "context_tokens"))
    output = float(_count(note, "output_tokens", least=0)) if "output_tokens" in note else 0.0
    if row["phase"] == "prefill" and prompt < 1:
        raise NotPredictable("prompt_tokens is 0; a prefill has at least 1")
    if row["kind"] == "request" and row["phase"] == "prefill" and batch > 1:
        raise NotPredictable("TTFT under load is mostly waiting, which depends on how arrivals bunch: simulate it")
    if row["kind"] == "request" and note.get("load") == "closed-loop" and row["phase"] == "decode" and not output:
        raise NotPredictable("output_tokens is missing from the note; TPOT under closed-loop load depends on it")
    return Sizes(batch, prompt, context, output)


def predict_s(case: Case, sizes: Sizes, coefficients: Coefficients | None = None) -> Seconds:
    """Seconds for one row or many of one case."""
    known = coefficients or fitted()
    prefills = case.phase == "prefill"
    tokens = sizes.batch * sizes.prompt if prefills else sizes.batch
    pairs = sizes.batch * sizes.prompt * sizes.prompt if prefills else 0.0 * sizes.batch
    context = 0.0 * sizes.batch if prefills else sizes.batch * sizes.context
    ours = coefficients is None
    if case.kind == "layer":
        return _part_s(_fitted_layer(case) if ours else _layer(case, known), case.scope, tokens, pairs, context)
    pace = _fitted_pace(case) if ours else _pace(case, known)
    if prefills:
        return pace.prefill_s(tokens, pairs)
    if case.kind == "step":
        return pace.pass_s(sizes.batch, context)
    return _closed_loop_tpot_s(pace, sizes) if case.closed_loop else pace.turn_s(sizes.batch, context)


def notes_of(row: Mapping[str, str]) -> dict[str, str]:
    """The `key=value` pairs of the row's note."""
    pairs = (part.partition("=") for part in (row.get("note") or "").split(";") if part.strip())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _part_s(cost: LayerCost, scope: str, tokens: Amount, pairs: Amount, context: Amount) -> Seconds:
    """What the scope names of one layer."""
    match scope:
        case "gemm":
            return cost.matrices_s(tokens)
        case "gemm+attn":
            return cost.matrices_s(tokens) + cost.attention_s(pairs, context)
        case "elementwise":
            return cost.elementwise_s(tokens)
        case _:
            return cost.total_s(tokens, pairs, context)


def _closed_loop_tpot_s(pace: Pace, sizes: Sizes) -> Seconds:
    """While a request decodes, every other client's next prompt is prefilled once: a step and a part of those."""
    step = pace.turn_s(sizes.batch, sizes.batch * sizes.context)
    prompts = pace.prefill_interval_s(sizes.batch * sizes.prompt, sizes.batch * sizes.prompt * sizes.prompt)
    return step + prompts / sizes.output


def _layer(case: Case, known: Coefficients) -> LayerCost:
    llm, gpu, link = _llm(case.model, case.dtype), _gpu_with(case.gpu, known), None
    if case.communicates and case.tp > 1:
        link = _link(case, gpu, known)
    return layer_cost(llm, gpu, case.tp, link=link, engine=known.engine(case.engine), constants=known.constants)


@cache
def _fitted_layer(case: Case) -> LayerCost:
    return _layer(case, fitted())


@cache
def _fitted_pace(case: Case) -> Pace:
    return _pace(case, fitted())


def _pace(case: Case, known: Coefficients) -> Pace:
    gpu = _gpu_with(case.gpu, known)
    return pipeline_pace(
        _llm(case.model, case.dtype),
        gpu,
        case.tp,
        case.layers,
        nvlink=_nvlink(case, gpu),
        engine=case.engine,
        between=vm_network(known.constants) if case.link == "vm-network" else None,
        coefficients=known,
    )


def _link(case: Case, gpu: GpuType, known: Coefficients) -> Interconnect:
    if case.link == "vm-network":
        return vm_network(known.constants)
    return inside(gpu, case.tp, known.constants, nvlink=_nvlink(case, gpu))


def _nvlink(case: Case, gpu: GpuType) -> bool:
    """As the row says; else where the cards come on an NVLink board: a bridge is usually not fitted."""
    return case.link in ("nvlink", "nvswitch") or (case.link in ("", "vm-network") and gpu.nvlink_cards > 2)


def _gpu_with(name: str, known: Coefficients) -> GpuType:
    gpu = _gpu(name)
    return gpu if known is fitted() else replace(gpu, efficiency=known.architectures[gpu.architecture])


@cache
def _gpu(name: str) -> GpuType:
    try:
        return gpu_named(name)
    except SpecError as error:
        raise NotPredictable(error.message) from error


@cache
def _llm(name: str, dtype: str) -> LlmSpec:
    try:
        return llm_named(name, dtype)
    except SpecError as error:
        raise NotPredictable(error.message) from error


def _layers(text: str, llm: LlmSpec, pp: int) -> tuple[int, ...]:
    """Layers of each stage: "15+15+15+15", or "4x7+4x8" for four stages of 7 and four of 8; else split evenly."""
    if not text:
        each, odd = divmod(llm.layers, pp)
        return tuple(each + (i < odd) for i in range(pp))
    try:
        parts = [tuple(int(number) for number in part.split("x")) for part in text.split("+")]
        layers = tuple(layer for part in parts for layer in [part[-1]] * (part[0] if len(part) == 2 else 1))
    except ValueError:
        raise NotPredictable(f"layers_per_stage is {text!r}; expected such as 15+15 or 2x15") from None
    if len(layers) != pp or sum(layers) != llm.layers or min(layers) < 1:
        raise NotPredictable(f"layers_per_stage {text} is not {pp} stages of {llm.layers} layers together")
    return layers


def _word(found: str, what: str, known: tuple[str, ...]) -> str:
    if found not in known:
        raise NotPredictable(f"{what} is {found!r}; expected one of {', '.join(filter(None, known))}")
    return found


def _count(row: Mapping[str, str], column: str, *, least: int = 1) -> int:
    try:
        value = float(row[column])
    except (TypeError, ValueError):
        value = -1.0
    if not value.is_integer() or value < least:
        raise NotPredictable(f"{column} is {row[column]!r}; expected a whole number of at least {least}")
    return int(value)
