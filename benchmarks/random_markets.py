"""Random small markets and fleets, for which everything can be tried: 2 to 8 GPUs of 1 to 3 kinds in 1 to 4 offers."""

from dataclasses import dataclass
from random import Random

from planner.catalog import Offer
from planner.gpus import gpu_named

GPU_USD_PER_HOUR = {"A6000": 0.48, "A5000": 0.22, "A40": 0.40, "RTX3090Ti": 0.31, "RTX4090": 0.45, "L4": 0.60}
MODELS = {"llama-3.1-8b": 8, "llama-30b": 2, "qwen3-32b": 2}
"""And how often each is drawn, as weights: larger ones fit few of these groups."""
MOST_OFFERS = 4


@dataclass(frozen=True, slots=True)
class RandomMarket:
    """What is on offer, for which model and workload; `rent_all`: a fleet that is given."""

    offers: tuple[Offer, ...]
    model: str
    workload: str
    slo: tuple[float, float]
    budget_usd_per_hour: float
    rent_all: bool


def random_market(seed: int) -> RandomMarket:
    """The same for the same seed."""
    random = Random(seed)
    left, offers = random.randint(2, 8), list[Offer]()
    kinds = random.sample(sorted(GPU_USD_PER_HOUR), random.randint(1, 3))
    is_joined, egress = random.random() < 0.5, random.choice([0.0, 0.0, 0.002, 0.02])
    while left:
        gpus = left if len(offers) == MOST_OFFERS - 1 else min(left, random.choice([1, 2, 2, 4, 8]))
        left -= gpus
        offers.append(_offer(random, f"o{len(offers)}", random.choice(kinds), gpus, is_joined, egress))
    whole = sum(offer.usd_per_hour for offer in offers)
    rent_all = random.random() < 0.4
    (model,) = random.choices(list(MODELS), list(MODELS.values()))
    return RandomMarket(
        offers=tuple(offers),
        model=model,
        workload=random.choice(["conversation", "coding"]),
        slo=random.choice([(2.0, 0.15), (2.0, 0.04), (1.0, 0.1)]) if model == "llama-3.1-8b" else (4.0, 0.1),
        budget_usd_per_hour=whole * random.uniform(1.0, 2.0) if rent_all else whole * random.uniform(0.5, 1.0),
        rent_all=rent_all,
    )


def _offer(random: Random, name: str, gpu: str, gpus: int, is_joined: bool, egress: float) -> Offer:
    gbit_per_s = random.choice([1.0, 5.0, 10.0, 40.0])
    return Offer(
        offer_id=name,
        provider="vast",
        region="Earth",
        gpu=gpu_named(gpu),
        gpu_count=gpus,
        usd_per_hour=round(gpus * GPU_USD_PER_HOUR[gpu] * random.uniform(0.8, 1.2), 3),
        network="lan" if is_joined else "",
        inet_up_gbit_per_s=gbit_per_s,
        inet_down_gbit_per_s=gbit_per_s,
        egress_usd_per_gb=egress,
    )
