"""What is bid for an interruptible machine at Vast.ai."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

from planner.errors import SpecError
from provisioners.vast.fields import number


@dataclass(frozen=True, slots=True)
class BidPolicy:
    """What is bid for an interruptible machine: `factor` times the lowest bid that would win now, up to a cap.

    The same bid is paid however far the market falls; one that the market passes stops the machine.
    """

    factor: float = 1.2
    most_usd_per_gpu_hour: float = inf

    def __post_init__(self) -> None:
        if not self.factor >= 1:
            raise SpecError(f"The bid factor is {self.factor}; expected 1 or more: a lower bid never runs.")

    def usd_per_hour(self, bundle: Mapping[str, Any]) -> float:
        """For the GPUs, without storage."""
        return min(number(bundle, "min_bid") * self.factor, self._most(bundle))

    def too_dear(self, bundle: Mapping[str, Any]) -> bool:
        """Whether only bids above the cap would win."""
        return number(bundle, "min_bid") > self._most(bundle)

    @property
    def in_words(self) -> str:
        cap = f", {self.most_usd_per_gpu_hour:g} $/h a GPU at most" if isfinite(self.most_usd_per_gpu_hour) else ""
        return f"{self.factor:g} times the lowest bid that would win now{cap}"

    def _most(self, bundle: Mapping[str, Any]) -> float:
        return self.most_usd_per_gpu_hour * int(bundle["num_gpus"])
