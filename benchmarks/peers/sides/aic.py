"""AIConfigurator's side: its search as its command runs it, its estimate of one engine, and its score of any fleet."""

import json
import logging
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from answering import serve

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

from aiconfigurator.cli import api  # noqa: E402
from aiconfigurator_core.sdk.perf_database import get_latest_database_version  # noqa: E402

MODELS = {
    "qwen3-32b": "Qwen/Qwen3-32B",
    "llama-3.1-8b": "meta-llama/Meta-Llama-3.1-8B",
    "llama-3.1-70b": "meta-llama/Meta-Llama-3.1-70B",
}
SYSTEMS = {"H100-SXM5-80GB": "h100_sxm", "A100-SXM4-80GB": "a100_sxm"}
BATCHES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256, 320, 384, 512)
"""Tried for a fleet that is not its own; where memory is short it says so itself."""
LLAMA_2_70B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_attention_heads": 64,
    "num_hidden_layers": 80,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
}


@cache
def model_path(name: str) -> str:
    """Its name for a model; one that it does not know is described to it by a config.json."""
    if name != "llama-2-70b":
        return MODELS[name]
    folder = Path(tempfile.mkdtemp())
    (folder / "config.json").write_text(json.dumps(LLAMA_2_70B))
    return str(folder)


@cache
def version(gpu: str, engine: str) -> str:
    """Of the engine whose kernels it answers with. Told each time, it does not read all of its tables' names again."""
    return str(get_latest_database_version(SYSTEMS[gpu], engine))


def estimated(row: dict[str, Any]) -> dict[str, float] | str:
    """TTFT and TPOT, in ms, of one engine that as many clients ask in a closed loop; of one pass if it is a step."""
    step = {"prefill": "static_ctx", "decode": "static_gen"}
    mode = step[row["phase"]] if row["kind"] == "step" else "agg"
    isl = row["prompt"] if row["phase"] == "prefill" or mode == "agg" else row["context"]
    return estimate(row["model"], row["gpu"], row["engine"], mode, isl, row["output"] or 2, row["batch"], row["tp"])


@cache
def estimate(
    model: str, gpu: str, engine: str, mode: str, isl: int, osl: int, batch: int, tp: int
) -> dict[str, float] | str:
    try:
        found = api.cli_estimate(
            model_path(model),
            SYSTEMS[gpu],
            mode=mode,
            backend_name=engine,
            backend_version=version(gpu, engine),
            isl=isl,
            osl=osl,
            batch_size=batch,
            tp_size=tp,
        )
    except Exception as refused:
        return f"{type(refused).__name__}: {refused}"[:200]
    return {"ttft_ms": float(found.ttft), "tpot_ms": float(found.tpot)}


def predict(asked: dict[str, Any]) -> list[dict[str, float] | str]:
    return [estimated(row) for row in asked["rows"]]


def plan(asked: dict[str, Any]) -> dict[str, Any]:
    """The configuration that it puts first, of the better of its two modes."""
    found = api.cli_default(
        model_path(asked["model"]),
        asked["gpus"],
        SYSTEMS[asked["gpu"]],
        backend=asked["engine"],
        isl=asked["prompt"],
        osl=asked["output"],
        ttft=asked["ttft_ms"],
        tpot=asked["tpot_ms"],
        top_n=1,
    )
    best = found.best_configs[found.chosen_exp].iloc[0]
    return {"mode": found.chosen_exp, "gpus": int(best["num_total_gpus"]), "groups": groups_of(best, asked["gpus"])}


def groups_of(best: Any, gpus: int) -> list[dict[str, Any]]:
    """Replicas alike, repeated until the GPUs are used up, as it reckons itself."""
    times = gpus // int(best["num_total_gpus"])
    if "(p)workers" not in best.index:
        return [group("mixed", times, best["tp"], best["pp"])]
    return [
        group("prefill", times * int(best["(p)workers"]), best["(p)tp"], best["(p)pp"]),
        group("decode", times * int(best["(d)workers"]), best["(d)tp"], best["(d)pp"]),
    ]


def group(phase: str, replicas: int, tp: Any, pp: Any) -> dict[str, Any]:
    return {"phase": phase, "replicas": int(replicas), "tp": int(tp), "pp": int(pp)}


def score(asked: dict[str, Any]) -> float:
    """Requests/s of a fleet at the best batch that meets both targets, as its search would reckon it."""
    phases = {one["phase"]: one for one in asked["groups"]}
    if len(phases) < len(asked["groups"]) or (len(phases) > 1 and "mixed" in phases):
        raise ValueError("its model has one kind of replica for each phase, and no fleet of both modes")
    if "mixed" in phases:
        own = phases["mixed"]
        return own["replicas"] * most(asked, tp_size=own["tp"], pp_size=own["pp"], mode="agg")
    prefill, decode = phases["prefill"], phases["decode"]
    return most(
        asked,
        mode="disagg",
        prefill_tp_size=prefill["tp"],
        prefill_pp_size=prefill["pp"],
        prefill_num_workers=prefill["replicas"],
        prefill_batch_size=1,
        decode_tp_size=decode["tp"],
        decode_pp_size=decode["pp"],
        decode_num_workers=decode["replicas"],
    )


def most(asked: dict[str, Any], **layout: Any) -> float:
    """The most requests/s of any batch within the targets."""
    best = 0.0
    for batch in BATCHES:
        sized = {"decode_batch_size" if layout["mode"] == "disagg" else "batch_size": batch}
        try:
            found = api.cli_estimate(
                model_path(asked["model"]),
                SYSTEMS[asked["gpu"]],
                backend_name=asked["engine"],
                backend_version=version(asked["gpu"], asked["engine"]),
                isl=asked["prompt"],
                osl=asked["output"],
                **layout,
                **sized,
            )
        except Exception:  # no memory for this batch, nor for a larger one
            break
        if found.ttft <= asked["ttft_ms"] and found.tpot <= asked["tpot_ms"] and not found.kv_cache_warning:
            best = max(best, float(found.seq_per_second))
    return best


if __name__ == "__main__":
    serve({"predict": predict, "plan": plan, "score": score})
