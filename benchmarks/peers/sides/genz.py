"""GenZ's side: analytic times of one pass, at its default efficiency of 1 and with every efficiency at a given one."""

import warnings
from functools import cache
from typing import Any

from answering import serve

warnings.filterwarnings("ignore")

from GenZ import decode_moddeling, prefill_moddeling  # noqa: E402
from GenZ.Models import ModelConfig  # noqa: E402

SYSTEMS = {"H100-SXM5-80GB": "H100_GPU", "A100-SXM4-80GB": "A100_80GB_GPU"}


@cache
def model(name: str) -> Any:
    """Its name for a model; Qwen3-32B is described to it."""
    if name != "qwen3-32b":
        return {"llama-2-70b": "meta-llama/Llama-2-70B", "llama-3.1-8b": "meta-llama/Llama-3.1-8B"}[name]
    return ModelConfig(
        model="Qwen/Qwen3-32B",
        hidden_size=5120,
        num_attention_heads=64,
        num_key_value_heads=8,
        head_dim=128,
        num_ffi=2,
        intermediate_size=25600,
        num_decoder_layers=64,
        vocab_size=151936,
    )


def predict(asked: dict[str, Any]) -> list[dict[str, float] | str]:
    return [estimated(row) for row in asked["rows"]]


def estimated(row: dict[str, Any]) -> dict[str, float] | str:
    common = {
        "model": model(row["model"]),
        "system_name": SYSTEMS[row["gpu"]],
        "batch_size": row["batch"],
        "tensor_parallel": row["tp"],
        "parallelism_heirarchy": f"TP{{{row['tp']}}}_EP{{1}}_PP{{1}}",
    }
    try:
        if row["phase"] == "prefill":
            return {"ttft_ms": float(prefill_moddeling(**common, input_tokens=row["prompt"])["Latency"])}
        context = row["context"]
        return {"tpot_ms": float(decode_moddeling(**common, Bb=1, input_tokens=context, output_tokens=1)["Latency"])}
    except Exception as refused:
        return f"{type(refused).__name__}: {refused}"[:200]


if __name__ == "__main__":
    serve({"predict": predict})
