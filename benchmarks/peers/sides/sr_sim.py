"""vllm-sr-sim's side: its split planner over every pair of TP degrees, its engine's times, and its event simulation."""

from functools import cache
from itertools import product
from typing import Any

from answering import serve
from fleet_sim.core.fleet import Fleet, FleetConfig, PoolConfig
from fleet_sim.core.request import Request
from fleet_sim.gpu_profiles import ProfileBuilder, ServingConfig
from fleet_sim.hardware.catalog import A100_SXM, H100_SXM
from fleet_sim.models import catalog
from fleet_sim.models.spec import ModelSpec
from fleet_sim.optimizer.disagg import ALPHA_DEC, ALPHA_PRE, DisaggFleetOptimizer

HARDWARE = {"H100-SXM5-80GB": H100_SXM, "A100-SXM4-80GB": A100_SXM}
DEGREES = (1, 2, 4, 8)
MAX_CONTEXT = 8192
LLAMA_2_70B = ModelSpec(
    name="llama-2-70b",
    n_layers=80,
    n_heads=64,
    n_kv_heads=8,
    hidden_size=8192,
    intermediate_size=28672,
    vocab_size=32000,
    max_position=4096,
)


@cache
def profile(model: str, gpu: str, tp: int, context: int, phase: str = "aggregated") -> Any:
    spec = LLAMA_2_70B if model == LLAMA_2_70B.name else catalog.get(model)
    config = ServingConfig(tp=tp, phase=phase, mean_ctx_tokens=max(1, context))
    built = ProfileBuilder().build(HARDWARE[gpu], spec, config)
    if built.total_kv_blks <= 0:
        raise ValueError(f"{model} does not fit {tp} x {gpu}")
    return built


def predict(asked: dict[str, Any]) -> list[dict[str, float] | str]:
    return [estimated(row) for row in asked["rows"]]


def estimated(row: dict[str, Any]) -> dict[str, float] | str:
    """As its instances reckon: prompts by chunks beside what is active, tokens by the batch and its mean length."""
    length = row["prompt"] + row["output"] if row["kind"] == "request" else row["context"]
    try:
        own = profile(row["model"], row["gpu"], row["tp"], length)
    except ValueError as refused:
        return str(refused)
    chunks = -(-row["batch"] * row["prompt"] // own.chunk) if row["kind"] == "step" else -(-row["prompt"] // own.chunk)
    pass_s = own.prefill_iter_latency(own.chunk, row["prompt"] / 2, row["batch"], float(length))
    return {"ttft_ms": chunks * pass_s * 1e3, "tpot_ms": own.iter_latency(row["batch"], float(length)) * 1e3}


def plan(asked: dict[str, Any]) -> dict[str, Any]:
    """The highest rate of any TP for prefill with any for decode; each pair as its optimizer plans it."""
    found = [one for pair in product(DEGREES, DEGREES) if (one := planned(asked, *pair))]
    if not found:
        raise ValueError("no split fleet meets both targets")
    best = max(found, key=lambda one: one.system_rate)
    return {
        "mode": "disagg",
        "gpus": best.total_gpus,
        "groups": [
            {"phase": "prefill", "replicas": best.n_prefill, "tp": best.prefill_gpus, "pp": 1},
            {"phase": "decode", "replicas": best.n_decode, "tp": best.decode_gpus, "pp": 1},
        ],
    }


def planned(asked: dict[str, Any], prefill_tp: int, decode_tp: int) -> Any:
    context = asked["prompt"] + asked["output"]
    try:
        prefill = profile(asked["model"], asked["gpu"], prefill_tp, context, "prefill")
        decode = profile(asked["model"], asked["gpu"], decode_tp, context, "decode")
    except ValueError:
        return None
    optimizer = DisaggFleetOptimizer(
        prefill,
        decode,
        mean_isl=asked["prompt"],
        mean_osl=asked["output"],
        slo_ttft_ms=asked["ttft_ms"],
        slo_tpot_ms=asked["tpot_ms"],
        max_ctx=MAX_CONTEXT,
    )
    most = asked["gpus"]
    sizes = (optimizer.optimize(max_prefill=most, max_decode=most, valid_total_gpus=[n]) for n in range(2, most + 1))
    return max(filter(None, sizes), key=lambda one: one.system_rate, default=None)


def score(asked: dict[str, Any]) -> float:
    """Requests/s by its optimizer's own formulas; a replica that does both at its steady state."""
    context = asked["prompt"] + asked["output"]
    rates = {"prefill": 0.0, "decode": 0.0, "mixed": 0.0}
    for one in asked["groups"]:
        if one["pp"] > 1:
            raise ValueError("it has no pipelines")
        own = profile(asked["model"], asked["gpu"], one["tp"], context, one["phase"])
        lengths = {"prefill": (asked["prompt"], 1.0), "decode": (1.0, asked["output"])}
        degraded = {"prefill": ALPHA_PRE, "decode": ALPHA_DEC, "mixed": 1.0}[one["phase"]]
        prompt, output = lengths.get(one["phase"], (asked["prompt"], asked["output"]))
        rates[one["phase"]] += one["replicas"] * degraded * own.throughput(MAX_CONTEXT, prompt, output)
    return rates["mixed"] + min(rates["prefill"], rates["decode"])


def simulate(asked: dict[str, Any]) -> dict[str, float]:
    """Its fleet of like replicas over requests (arrival, prompt, output): how many it finished."""
    own = profile(asked["model"], asked["gpu"], asked["tp"], asked["context"])
    pool = PoolConfig("all", own, asked["replicas"], MAX_CONTEXT)
    fleet = Fleet(FleetConfig([pool], router_type="RandomRouter"))
    requests = [(at, Request(i, at, prompt, output)) for i, (at, prompt, output) in enumerate(asked["requests"])]
    done = fleet.run(requests)
    return {"finished": float(len(done.completed))}


if __name__ == "__main__":
    serve({"predict": predict, "plan": plan, "score": score, "simulate": simulate})
