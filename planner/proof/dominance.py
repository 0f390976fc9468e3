"""Groups that a program can do without: whatever it forms of one, it can form of others, from as many GPUs."""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from planner.procurement.purchase import Floats

Mask: TypeAlias = npt.NDArray[np.bool_]


def undominated(gpus: Floats, worth: Floats) -> Mask:
    """Of groups of one phase, by the GPUs they take of each pool and all that they are worth to the program: those that
    neither one group of no more GPUs, nor two of as many, are worth as much as, each figure compared.

    What is dominated by such as are dominated themselves is so by those that are left, as GPUs and figures add up.
    """
    rows: dict[bytes, list[int]] = {}
    kept = np.zeros(len(gpus), dtype=np.bool_)
    for row in np.argsort(gpus.sum(axis=1), kind="stable"):
        others = rows.setdefault(gpus[row].tobytes(), [])
        smaller = np.flatnonzero((gpus <= gpus[row]).all(axis=1) & (gpus < gpus[row]).any(axis=1))
        sums = (worth[one] + worth[other] for one, other in _pairs(gpus, row, smaller, rows))
        alone = worth[[*smaller, *others]]
        kept[row] = worth[row].any() and not (alone >= worth[row]).all(axis=1).any()
        kept[row] = kept[row] and not any((both >= worth[row]).all() for both in sums)
        others.append(int(row))
    return kept


def _pairs(
    gpus: Floats, row: int, smaller: npt.NDArray[np.intp], rows: dict[bytes, list[int]]
) -> Iterator[tuple[int, int]]:
    """Two groups that together take as many GPUs of each pool."""
    for one in smaller:
        yield from ((int(one), other) for other in rows.get((gpus[row] - gpus[one]).tobytes(), ()))
