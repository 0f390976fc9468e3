"""The machines of ThunderServe's Table 1 (arXiv 2502.09334) as offers: GPUs, prices, links, and two bases of speed.

Which GPUs share a machine is not published. Ours is the one split into machines of 4 and 8 under which every published
group exists (`paper_plans.py`): replicas of 8 x A40 on one machine, all others on two machines of 4.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from planner.catalog import GpuType, Offer
from planner.gpus import gpu_named
from planner.market import Market

AS_OF = "2026-09-01T00:00:00Z"
NETWORK = "lan"


class Basis(StrEnum):
    """What GPUs are rated at: the paper's Table 1, which mixes tensor and other rates, or the package's own table."""

    PAPER = "paper"
    OURS = "ours"


@dataclass(frozen=True, slots=True)
class Card:
    """A row of Table 1: our name for the GPU, GB/s, "peak FP16" TFLOP/s, and $/h of one."""

    gpu: str
    memory_gb_per_s: float
    fp16_tflops: float
    usd_per_hour: float

    def rated(self, basis: Basis) -> GpuType:
        """The type at the paper's rates or at ours; what part of them is reached is the package's either way."""
        known = gpu_named(self.gpu)
        if basis is Basis.OURS:
            return known
        return replace(known, memory_gb_per_s=self.memory_gb_per_s, fp16_tflops=self.fp16_tflops)


CARDS = {
    card.gpu: card
    for card in (
        Card("A100-SXM4-80GB", 2000.0, 312.0, 1.753),
        Card("A6000", 768.0, 38.7, 0.483),
        Card("A5000", 626.8, 27.8, 0.223),
        Card("A40", 696.0, 149.7, 0.403),
        Card("RTX3090Ti", 1008.0, 40.0, 0.307),
    )
}
UNLIKE = (("A40", 8), ("A6000", 4), ("A6000", 4), ("A5000", 4), ("A5000", 4), ("RTX3090Ti", 4), ("RTX3090Ti", 4))
"""The 32 GPUs, machine by machine."""
A100S = (("A100-SXM4-80GB", 8),)
FEWER_A100S = (("A100-SXM4-80GB", 6),)
"""As many whole cards as the price of the 32 GPUs buys."""
NVLINKED = frozenset({"A100-SXM4-80GB"})
CASE = (("A40", 4), ("RTX3090Ti", 4))
"""The 8 GPUs of the one case that is published with its figures."""


def rated(basis: Basis) -> dict[str, GpuType]:
    """The types by their names."""
    return {name: card.rated(basis) for name, card in CARDS.items()}


def fleet(machines: tuple[tuple[str, int], ...], basis: Basis, gbit_per_s: float) -> Market:
    """These machines in one private network; KV goes in and out of each at `gbit_per_s`, and its bytes are free."""
    gpus = rated(basis)
    offers = tuple(
        Offer(
            offer_id=f"{gpu}-{number}",
            provider="vast",
            region="Earth",
            gpu=gpus[gpu],
            gpu_count=count,
            usd_per_hour=count * CARDS[gpu].usd_per_hour,
            network=NETWORK,
            inet_up_gbit_per_s=gbit_per_s,
            inet_down_gbit_per_s=gbit_per_s,
            nvlink=gpu in NVLINKED,
        )
        for number, (gpu, count) in enumerate(machines)
    )
    return Market(offers, AS_OF, "file")


def usd_per_hour(market: Market) -> float:
    return sum(offer.usd_per_hour for offer in market.offers)
