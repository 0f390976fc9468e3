"""What all planners are asked, and the words that their answers come in: fleets of replicas alike on one instance."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from planner.catalog import Offer
from planner.deployment import Phase, Plan
from planner.gpus import gpu_named
from planner.market import Market
from planner.models import llm_named
from planner.parallel.task import Task
from planner.plan import task_of
from planner.traces import workload_named
from planner.workload import Slo, Workload

GPUS, USD_PER_HOUR, MAX_MODEL_LEN = 8, 16.0, 8192
"""One instance; its price is the budget, so that what is compared is the use of its GPUs."""
ENGINE = "vllm"
H100, A100 = "H100-SXM5-80GB", "A100-SXM4-80GB"


@dataclass(frozen=True, slots=True)
class Case:
    """A model on so many GPUs of a type; `workload` is a preset, or `1155/211`: every request has so many tokens."""

    model: str
    gpu: str
    workload: str
    slo: Slo

    def __str__(self) -> str:
        return f"{self.model}, {GPUS} x {self.gpu}, {self.workload}, {self.slo.ttft_s:g} s / {self.slo.tpot_s:g} s"

    @property
    def demand(self) -> Workload:
        if "/" not in self.workload:
            return workload_named(self.workload)
        prompt, output = map(int, self.workload.split("/"))
        return Workload(self.workload, ((prompt, output),))

    @property
    def task(self) -> Task:
        return task_of(llm_named(self.model), self.demand, self.slo, MAX_MODEL_LEN)

    @property
    def market(self) -> Market:
        gpu = gpu_named(self.gpu)
        offer = Offer("one", "ssh", "here", gpu, GPUS, USD_PER_HOUR, nvlink=gpu.nvlink_cards > 2)
        return Market((offer,), "2026-01-01T00:00:00Z", "file")

    @property
    def question(self) -> dict[str, Any]:
        """The case as peers take it, who know no distribution: mean lengths as clipped for us too."""
        demand = self.task.demand
        return {
            "model": self.model,
            "gpu": self.gpu,
            "gpus": GPUS,
            "engine": ENGINE,
            "prompt": round(fmean(demand.prompt)),
            "output": round(fmean(demand.output)),
            "ttft_ms": self.slo.ttft_s * 1e3,
            "tpot_ms": self.slo.tpot_s * 1e3,
        }


QUICK, QUICKER = Slo(1.0, 0.04, 0.9), Slo(0.5, 0.025, 0.9)
CASES = (
    Case("qwen3-32b", H100, "conversation", Slo()),
    Case("qwen3-32b", H100, "1155/211", Slo()),
    Case("qwen3-32b", H100, "coding", Slo()),
    Case("qwen3-32b", A100, "conversation", Slo()),
    Case("qwen3-32b", H100, "conversation", QUICKER),
    Case("llama-3.1-70b", H100, "conversation", QUICK),
)


@dataclass(frozen=True, slots=True)
class Group:
    """Replicas alike."""

    phase: Phase
    replicas: int
    tp: int
    pp: int

    def __str__(self) -> str:
        """`4 P 2x1`: four prefill replicas of TP 2, PP 1."""
        return f"{self.replicas} {self.phase[0].upper()} {self.tp}x{self.pp}"

    @property
    def gpus(self) -> int:
        return self.replicas * self.tp * self.pp

    @property
    def as_asked(self) -> dict[str, Any]:
        return {"phase": str(self.phase), "replicas": self.replicas, "tp": self.tp, "pp": self.pp}


Fleet = tuple[Group, ...]


def fleet_of(groups: Iterable[Mapping[str, Any]]) -> Fleet:
    """A peer's answer."""
    return tuple(Group(Phase(one["phase"]), one["replicas"], one["tp"], one["pp"]) for one in groups)


def fleet_of_plan(plan: Plan) -> Fleet:
    """Ours, its replicas counted; how layers are split is left out."""
    counted = Counter((one.phase, one.tp, one.pp) for one in plan.replicas)
    return tuple(Group(phase, count, tp, pp) for (phase, tp, pp), count in sorted(counted.items()))


def in_words(fleet: Sequence[Group]) -> str:
    return " + ".join(map(str, fleet)) or "none"
