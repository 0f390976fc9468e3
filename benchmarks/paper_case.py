"""The one case that is published with its figures: 4 x A40 and 4 x RTX 3090 Ti, LLaMA-30B, with phases apart and not.

1,610 tokens/s with every replica doing both phases; 3,292 with phases apart at 40 Gbit/s and 2,196 at 5: 2.04 and
1.36 times. The mix of requests is not stated, nor the SLO: both are swept, and ratios compared. A ratio of requests/s
is one of tokens/s, as the mix is the same.
"""

from dataclasses import dataclass

from benchmarks.paper_cells import SEED, Cell, made, scored, task_at
from benchmarks.paper_fleet import CASE, Basis, fleet, usd_per_hour
from planner.baselines.hexgen import hexgen
from planner.baselines.setting import Setting
from planner.baselines.vllm import vllm
from planner.deployment import Phase
from planner.parallel.layouts import Capacities, GroupShape
from planner.parallel.rules import Ruled

MODEL = "llama-30b"
TOKENS_PER_S = {"together": 1610.0, "apart at 40 Gbit/s": 3292.0, "apart at 5 Gbit/s": 2196.0}
"""As published."""
FAST_GBIT_PER_S, SLOW_GBIT_PER_S = 40.0, 5.0


@dataclass(frozen=True, slots=True)
class Case:
    """A mix of requests, a basis and the scale of the SLO."""

    workload: str
    basis: Basis
    scale: float

    def __str__(self) -> str:
        return f"4 x A40 + 4 x RTX3090Ti {self.workload} {self.basis} basis scale {self.scale:g}"


@dataclass(frozen=True, slots=True)
class Apart:
    """Every replica does one phase."""

    def __call__(self, shape: GroupShape, phase: Phase) -> bool:
        return phase is not Phase.MIXED


@dataclass(frozen=True, slots=True)
class Measured:
    """Simulated goodput, requests/s: phases together (the better of two systems), apart at both links, and free."""

    case: Case
    together_rps: float
    apart_fast_rps: float
    apart_slow_rps: float
    free_fast_rps: float
    free_slow_rps: float


def measured(case: Case) -> Measured:
    fast, slow = (
        Cell(MODEL, case.workload, case.basis, gbit, case.scale) for gbit in (FAST_GBIT_PER_S, SLOW_GBIT_PER_S)
    )
    together = max(_together_rps(cell) for cell in (fast, slow))
    return Measured(case, together, *(_rps(cell, apart=apart) for apart in (True, False) for cell in (fast, slow)))


def _rps(cell: Cell, *, apart: bool) -> float:
    task = task_at(cell)
    known = Ruled(Capacities(task), Apart()) if apart else Capacities(task)
    return made(cell, fleet(CASE, cell.basis, cell.gbit_per_s), task, known=known).goodput_rps


def _together_rps(cell: Cell) -> float:
    """vLLM with one TP x PP for each type, or groups of any shape."""
    task = task_at(cell)
    market = fleet(CASE, cell.basis, cell.gbit_per_s)
    setting = Setting(Capacities(task), market.offers, usd_per_hour(market), fixed=True, seed=SEED)
    every = [*vllm(setting), *hexgen(setting)]
    return max((scored("together", one, task).goodput_rps for one in every), default=0.0)
