"""What the cost model says of the requests that are measured: by the functions that plans and the simulator use."""

from dataclasses import dataclass

import numpy as np

from benchmarks.kv_crossover_cells import Cell
from benchmarks.kv_crossover_pair import Legs
from planner.catalog import Link
from planner.costmodel.calibrate import Handover, prompt_s
from planner.costmodel.pace import Pace
from planner.costmodel.transfer import kv_transfer_s
from planner.deployment import Codec
from planner.llm import LlmSpec

PAYLOAD_SHARE = 1448 / 1514 * 16384 / 16406
"""Of a line, what a flow carries beside the headers of Ethernet, IP and TCP and those of TLS records."""


@dataclass(frozen=True, slots=True)
class Model:
    """A calibrated machine: its engines' pace, and what its hops take beside the line."""

    llm: LlmSpec
    own: Pace
    handover: Handover

    def predicted(self, cell: Cell) -> Legs:
        step_s = float(self.own.decode_step_s(1, cell.tokens))
        if cell.codec is Codec.LOCAL:
            return Legs(0.0, prompt_s(self.own, cell.tokens), step_s)
        hop_s = float(kv_transfer_s(self._link(cell.mbit_per_s), cell.tokens, self.llm, cell.codec))
        return Legs(prompt_s(self.own, cell.tokens), hop_s + step_s, step_s)

    def crossover_mbit_per_s(self, tokens: int, codec: Codec) -> float:
        """The rate at which the KV is there as soon as it could be computed; infinite where no line is fast enough."""
        local_s = self.predicted(Cell(tokens, Codec.LOCAL)).decode_s
        rates = np.array([1.0, 1e6])
        sent_s = [self.predicted(Cell(tokens, codec, float(rate))).decode_s for rate in rates]
        return crossing(rates, np.array(sent_s), local_s)

    def _link(self, mbit_per_s: float) -> Link:
        """As plans state one between these machines: what a flow gets of the line, and the handover beside it."""
        known = self.handover
        return Link(mbit_per_s / 1e3 * PAYLOAD_SHARE, known.handover_ms, codec_gb_per_s=known.codec_gb_per_s)


def crossing(mbit_per_s: np.ndarray, sent_s: np.ndarray, local_s: float) -> float:
    """The rate at which sending takes `local_s`: seconds are a constant and a part that falls as 1 ÷ rate.

    That is taken of the two rates around the crossing, or of the two nearest to it.
    """
    order = np.argsort(mbit_per_s)
    rates, seconds = mbit_per_s[order], sent_s[order]
    right = int(np.clip(np.searchsorted(-seconds, -local_s), 1, len(rates) - 1))
    slope, fixed_s = np.polyfit(1 / rates[right - 1 : right + 1], seconds[right - 1 : right + 1], 1)
    return float(slope / (local_s - fixed_s)) if local_s > fixed_s else float("inf")
