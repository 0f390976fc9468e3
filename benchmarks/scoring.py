"""How far predictions lie from measurements."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Score:
    """Of one group, in per cent; `rank` is Spearman's, NaN below three rows."""

    rows: int
    mape: float
    p90: float
    median: float
    rank: float


def score(predicted: Floats, measured: Floats) -> Score:
    error = (predicted / measured - 1) * 100
    rank = float(spearmanr(predicted, measured).statistic) if len(measured) > 2 else float("nan")
    size = np.abs(error)
    return Score(len(measured), float(size.mean()), float(np.percentile(size, 90)), float(np.median(error)), rank)
