"""The transportation problem of orchestration in words: pairs, what limits them, and the flows through them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
HOP_WEIGHT = 1e-3
"""How little a second of transfer weighs against a replica's whole utilisation: it only breaks ties."""


@dataclass(frozen=True, slots=True)
class Transport:
    """The pairs and what limits them. Where a use is infinite, the pair or the local service is not possible.

    `hop_s` is a pair's transfer time. `wire_gbit[k, i, j]` is what one request of pair i, j puts on wire k, which
    carries `wire_gbit_per_s[k]`. `usd_per_hour[i, j]` is what one request/s costs in transfer, within `budget`.
    """

    prefill_use: Floats
    decode_use: Floats
    local_use: Floats
    hop_s: Floats
    wire_gbit: Floats
    wire_gbit_per_s: Floats
    usd_per_hour: Floats
    budget_usd_per_hour: float


@dataclass(frozen=True, slots=True)
class Flow:
    """Requests/s through each pair and each replica alone, and their sum."""

    pairs: Floats
    local: Floats

    @property
    def served_rps(self) -> float:
        return float(self.pairs.sum() + self.local.sum())


def possible_pairs(transport: Transport) -> npt.NDArray[np.bool_]:
    return np.isfinite(transport.prefill_use) & np.isfinite(transport.decode_use)[None, :]
