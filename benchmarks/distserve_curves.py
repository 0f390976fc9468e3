"""DistServe's published latency curves of OPT models on A100 80 GB, beside what the cost model says."""

import json

import numpy as np

from benchmarks.measured_rows import MEASURED
from benchmarks.scoring import Score, score
from planner.costmodel.pace import Pace, pipeline_pace
from planner.gpus import gpu_named
from planner.models import llm_named

ENGINES = {"vllm": "vllm-0.2", "distserve": "distserve"}
"""The curves' files → the engine's name, by which the cost model knows its class."""
PROMPTS, BATCHES, CONTEXT = (256, 512, 1024, 2048), (1, 16, 64, 128), 512
SHORT_OF_MEMORY = ("vllm", "opt-66b", 2)


def distserve_scores() -> dict[tuple[str, str, str, str], Score]:
    """(engine, model, phase, TP degrees) → score."""
    found = {}
    for engine in ENGINES:
        curves = json.loads((MEASURED / f"distserve_a100_80g_{engine}.json").read_text(encoding="utf-8"))
        for repository, by_tp in curves.items():
            model = repository.rpartition("/")[2]
            if model not in ("opt-13b", "opt-66b"):
                continue
            heads = llm_named(model).heads
            degrees = [tp for tp in map(int, by_tp) if heads % tp == 0 and (engine, model, tp) != SHORT_OF_MEMORY]
            for phase, points in (("prefill", _prefills), ("decode", _decodes)):
                pairs = [pair for tp in degrees for pair in points(_pace(model, tp, engine), by_tp[str(tp)])]
                predicted, measured = np.array(pairs).T
                found[engine, model, phase, ", ".join(map(str, degrees))] = score(predicted, measured)
    return found


def _pace(model: str, tp: int, engine: str) -> Pace:
    llm = llm_named(model, "float16")
    return pipeline_pace(llm, gpu_named("A100-SXM4-80GB"), tp, (llm.layers,), nvlink=True, engine=ENGINES[engine])


def _prefills(pace: Pace, curves: dict[str, list[float]]) -> list[tuple[float, float]]:
    """(predicted, published) milliseconds: a + b n + c n²."""
    a, b, c = curves["prefill"]
    return [(float(pace.prefill_s(float(n))) * 1e3, a + b * n + c * n * n) for n in PROMPTS]


def _decodes(pace: Pace, curves: dict[str, list[float]]) -> list[tuple[float, float]]:
    """(predicted, published) milliseconds: a + b context + c batch, one curve below the threshold and one above."""
    found = []
    for batch in BATCHES:
        small = batch < float(curves["decoding_large_small_bs_threshold"])  # type: ignore[arg-type]
        a, b, c = curves["decoding_smallbs" if small else "decoding_largebs"]
        predicted = float(pace.decode_step_s(float(batch), float(batch * CONTEXT)))
        found.append((predicted * 1e3, a + b * batch * CONTEXT + c * batch))
    return found
