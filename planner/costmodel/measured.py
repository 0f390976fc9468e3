"""The cost model's answer for a measured row, in the schema of published latency tables.

A row names what was measured (`phase`, `kind`: one layer, one step, or what a client sees) and, in its `note`, what the
value contains. The measured value itself is never read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache

from planner.catalog import GpuType
from planner.costmodel.coefficients import Coefficients, fitted
from planner.costmodel.collectives import Interconnect, inside, vm_network
from planner.costmodel.coverage import unmeasured
from planner.costmodel.layer import Amount, LayerCost, Seconds, layer_cost, longer
from planner.costmodel.pace import Pace, pipeline_pace
from planner.costmodel.rows import Case, Sizes, case_of, gpu_of_row, llm_of, sizes_of


def predict_ms(row: Mapping[str, str]) -> float:
    """Milliseconds for one row; NotPredictable says why there is no answer."""
    case, sizes = case_of(row), sizes_of(row)
    return float(predict_s(case, sizes)) * 1e3


def unmeasured_of(row: Mapping[str, str]) -> tuple[str, ...]:
    """What of a row no measured row covers, each in words: its GPU, its model's kind or, but for single layers, its
    engine. Empty where its answer is calibrated."""
    case = case_of(row)
    return (*unmeasured(llm_of(case.model, case.dtype), [gpu_of_row(case.gpu)]), *_of_engine(case))


def _of_engine(case: Case) -> Iterator[str]:
    engine = fitted().engine(case.engine)
    if case.kind != "layer" and not engine.calibrated:
        yield f"engine {case.engine} has no measured rows: its times are those of a class of engines ({engine.name})"


def predict_s(case: Case, sizes: Sizes, coefficients: Coefficients | None = None) -> Seconds:
    """Seconds for one row or many of one case."""
    known = coefficients or fitted()
    prefills = case.phase == "prefill"
    tokens = sizes.batch * sizes.prompt if prefills else sizes.batch
    pairs = sizes.batch * _pairs(sizes) if prefills else 0.0 * sizes.batch
    context = 0.0 * sizes.batch if prefills else sizes.batch * sizes.context
    ours = coefficients is None
    if case.kind == "layer":
        layer = _fitted_layer(case) if ours else _layer(case, known)
        pairs, context = layer.seen(tokens, pairs, sizes.batch, context)
        return _part_s(layer, case.scope, tokens, pairs, context)
    pace = _fitted_pace(case) if ours else _pace(case, known)
    if prefills:
        return pace.prefill_s(tokens, pairs)
    if case.kind == "step":
        return pace.pass_s(sizes.batch, context)
    return (
        _closed_loop_tpot_s(pace, sizes)
        if case.loaded and case.kind == "request"
        else pace.turn_s(sizes.batch, context)
    )


def _pairs(sizes: Sizes) -> Amount:
    """end² - start² of a prompt's computed part: where the context is longer, its beginning was in the prefix cache."""
    end = longer(sizes.context, sizes.prompt)
    return end * end - (end - sizes.prompt) * (end - sizes.prompt)


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
    llm, gpu, link = llm_of(case.model, case.dtype), _gpu_with(case.gpu, known), None
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
        llm_of(case.model, case.dtype),
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
    gpu = gpu_of_row(name)
    return gpu if known is fitted() else replace(gpu, efficiency=known.architectures[gpu.architecture])
