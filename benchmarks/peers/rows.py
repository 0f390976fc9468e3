"""Measured rows that several can predict: passes of Llama-2-70B, and whole engines under a closed loop of clients.

The whole engines are of aiconfigurator-core's own sample. Those of Llama-3.1-8B are beside the project too, and our
coefficients were fitted to them; those of Qwen3-32B were never seen by ours.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from planner.costmodel.rows import Case, Sizes, notes_of
from planner.memory import even_layers
from planner.models import llm_named

MODELS = {"Qwen/Qwen3-32B": "qwen3-32b", "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b"}
SYSTEMS = {"h100_sxm": "H100-SXM5-80GB"}
PASSES = "splitwise_llama2_70b_a100"


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: what a client sees (`request`), or one pass of the engine (`step`), in ms."""

    set: str
    model: str
    gpu: str
    engine: str
    version: str
    tp: int
    phase: str
    kind: str
    batch: int
    prompt: int
    context: int
    output: int
    measured_ms: float

    @property
    def question(self) -> dict[str, Any]:
        """As a side is asked: not what was measured."""
        names = ("model", "gpu", "engine", "tp", "phase", "kind", "batch", "prompt", "context", "output")
        return {name: getattr(self, name) for name in names}

    @property
    def case(self) -> Case:
        """As our cost model takes it."""
        return Case(
            gpu=self.gpu,
            model=self.model,
            tp=self.tp,
            layers=even_layers(llm_named(self.model).layers, 1),
            engine=self.version,
            phase=self.phase,
            kind=self.kind,
            scope="model",
            communicates=True,
            link="",
            loaded=self.kind == "request",
        )

    @property
    def sizes(self) -> Sizes:
        return Sizes(float(self.batch), float(self.prompt), float(self.context), float(self.output))


def of_silicon(lines: Iterable[Mapping[str, str]]) -> list[Row]:
    """TTFT and TPOT of the unquantised engines with TP alone, of models and GPUs that all know."""
    found: list[Row] = []
    for line in lines:
        if not _is_comparable(line):
            continue
        model, version = MODELS[line["model_path"]], f"{line['backend']}-{line['backend_version']}"
        prompt, output = int(float(line["isl"])), int(float(line["osl"]))
        name = f"{model}, {SYSTEMS[line['system']]}, {version}"
        common = (name, model, SYSTEMS[line["system"]], line["backend"], version, int(float(line["tp_size"])))
        batch = int(float(line["batch_size"]))
        ttft, tpot = float(line["silicon_ttft_ms"]), float(line["silicon_tpot_ms"])
        found.append(Row(*common, "prefill", "request", batch, prompt, prompt, output, ttft))
        found.append(Row(*common, "decode", "request", batch, prompt, prompt + output // 2, output, tpot))
    return found


def _is_comparable(line: Mapping[str, str]) -> bool:
    known = line["model_path"] in MODELS and line["system"] in SYSTEMS
    plain = line["mode"] == "agg" and not line["precision"] and not line["gemm_quant_mode"]
    alone = all(float(line[name] or 1) == 1 for name in ("pp_size", "attention_dp_size"))
    return known and plain and alone and bool(line["silicon_ttft_ms"]) and bool(line["silicon_tpot_ms"])


def of_passes(lines: Iterable[Mapping[str, str]]) -> list[Row]:
    """Prefills and decode steps of splitwise-sim's table; what is flagged is left out, as it asks."""
    return [_pass_of(line) for line in lines if "flag" not in notes_of(line)]


def _pass_of(line: Mapping[str, str]) -> Row:
    return Row(
        set=f"{line['model']}, {line['gpu']}, {line['engine']}, {line['phase']} pass",
        model=line["model"],
        gpu=line["gpu"],
        engine="vllm",
        version=line["engine"],
        tp=int(line["tp"]),
        phase=line["phase"],
        kind=line["kind"],
        batch=int(line["batch"]),
        prompt=int(line["prompt_tokens"]),
        context=int(float(line["context_tokens"])),
        output=0,
        measured_ms=float(line["value_ms"]),
    )


def grouped(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """By set, and by what of it: `prefill` or `decode`."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.set, row.phase), []).append(row)
    return found
