"""The joint distribution of prompt and output tokens as a table of quantiles that a reader can check.

Requests are cut into bands of equal number by output. Each band has the quantiles of its outputs and, apart from them,
those of its prompts: so the table keeps both distributions, and how prompts depend on outputs from band to band. Within
a band the two are taken to be independent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int64]

BANDS = 32
"""Bands, and quantiles in each."""
STRIDE = 19
"""Coprime to BANDS and near its golden section: steps of it visit every quantile once, and neighbours far apart."""


@dataclass(frozen=True, slots=True)
class JointQuantiles:
    """Tokens at the levels 1/64, 3/64, …, 63/64 of each band (rows), for prompts and for outputs."""

    prompt: Tokens
    output: Tokens

    def __post_init__(self) -> None:
        for name, tokens in (("prompt", self.prompt), ("output", self.output)):
            if tokens.shape != (BANDS, BANDS):
                raise ValueError(f"The {name} quantiles are {tokens.shape}; expected {(BANDS, BANDS)}.")

    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Equally likely requests, one for each quantile of each band."""
        apart = np.arange(BANDS) * STRIDE % BANDS
        prompt, output = self.prompt.ravel().tolist(), self.output[:, apart].ravel().tolist()
        return tuple(zip(prompt, output, strict=True))


def joint_quantiles(prompt: Tokens, output: Tokens) -> JointQuantiles:
    """The table of a trace's requests; of those with equal outputs the earlier come first."""
    order = np.argsort(output, kind="stable")
    bands = [order[low:high] for low, high in _cuts(len(order))]
    return JointQuantiles(_quantiles([prompt[band] for band in bands]), _quantiles([output[band] for band in bands]))


def _cuts(size: int) -> list[tuple[int, int]]:
    edges = np.round(np.arange(BANDS + 1) * size / BANDS).astype(int).tolist()
    return list(pairwise(edges))


def _quantiles(bands: Sequence[Tokens]) -> Tokens:
    """The observed values at the middle of each of BANDS equal parts."""
    if min(len(band) for band in bands) == 0:
        raise ValueError(f"Some bands have no requests; expected {BANDS} requests or more.")
    levels = (np.arange(BANDS) + 0.5) / BANDS
    return np.array([np.sort(band)[(levels * len(band)).astype(int)] for band in bands])
