"""What an engine needs of a machine: disk, driver, a card that computes the weights' dtype, RAM and a line for them.

An offer that states too little of any is refused, with the reason. What it does not state is taken to do, and named:
a disk is leased with the size that is needed, the rest shows once the machine is rented.

Versions are those of vLLM's wheels (requirements/engine-cuda.txt: CUDA 13.0; compute capability 7.5, and 8.9 to compute
in fp8), memory of the host what vLLM's processes were measured to take on a CPU, rounded up; the environment's size is
an estimate.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from planner.catalog import GpuType, Offer
from planner.llm import LlmSpec
from planner.market import NETWORK_DEFAULTS, PESSIMISTIC
from planner.parallel.degrees import runs_on

ENVIRONMENT_DISK_GB = 15.0
"""CUDA's libraries, torch and vLLM, installed."""
WEIGHTS_MARGIN = 1.1
"""Times its weights that a checkpoint takes: tokenizer, index, and files while they are downloaded."""
CUDA_VERSION, DRIVER_VERSION = 13.0, 580.0
COMPUTE_CAPABILITY, FP8_CAPABILITY = 7.5, 8.9
LONGEST_FETCH_S = 7200.0
"""Most that weights and environment may take over an offer's line: the machine is paid for meanwhile."""
OWN = frozenset({"local", "ssh"})
"""Machines that cost nothing while they fetch, and may have what is needed already."""
HOST_RAM_GB, WORKER_RAM_GB, SHARD_RAM_GB = 3.0, 3.0, 5.0
"""The system with agent and API server; each GPU's worker; and the file of weights that is being read."""


class Lack(StrEnum):
    """What an offer has too little of."""

    DISK = "too little disk"
    DRIVER = "too old a driver"
    CARD = "too old a card"
    DTYPE = "without the dtype"
    RAM = "too little RAM"
    LINE = "too slow a line"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An offer the engine can't run on: in a word, and in a sentence with numbers."""

    offer: Offer
    lack: Lack
    reason: str


@dataclass(frozen=True, slots=True)
class Fitness:
    """Offers that an engine can run on, as far as they say, and those it can't."""

    fit: tuple[Offer, ...]
    refused: tuple[Refusal, ...]

    @property
    def refused_in_words(self) -> str:
        """How many lack what, most first: `120 too little disk, 8 too old a card`."""
        counts = Counter(refusal.lack for refusal in self.refused).most_common()
        return ", ".join(f"{count:,} {lack}" for lack, count in counts)


def fitness(llm: LlmSpec, offers: Iterable[Offer]) -> Fitness:
    """The offers, divided by whether the engine can run on them."""
    fit: list[Offer] = []
    refused: list[Refusal] = []
    for offer in offers:
        refusal = refusal_of(llm, offer)
        if refusal is None:
            fit.append(offer)
        else:
            refused.append(refusal)
    return Fitness(tuple(fit), tuple(refused))


def refusal_of(llm: LlmSpec, offer: Offer) -> Refusal | None:
    """Why the engine can't run on an offer; None where nothing it states speaks against it."""
    found = (
        (Lack.DISK, _disk(llm, offer)),
        (Lack.CARD, _card(offer.gpu)),
        (Lack.DTYPE, _dtype(llm, offer.gpu)),
        (Lack.DRIVER, _driver(offer)),
        (Lack.RAM, _ram(offer)),
        (Lack.LINE, _line(llm, offer)),
    )
    return next((Refusal(offer, lack, reason) for lack, reason in found if reason), None)


def unstated(offer: Offer) -> tuple[str, ...]:
    """What an offer does not say of itself, and is taken to have enough of."""
    driver = not offer.gpu.compute_capability or offer.cuda_version or offer.driver_version
    stated = {"disk": offer.disk_gb, "driver": driver, "RAM": offer.ram_gb}
    return tuple(name for name, value in stated.items() if not value)


def trust_in_words(offers: Sequence[Offer]) -> str:
    """What is taken on trust of these offers, in a sentence; empty where they state everything."""
    counts = Counter(name for offer in offers for name in unstated(offer))
    names = ", ".join(f"the {name} of {count}" for name, count in counts.items())
    return f"Unstated, and taken to be enough: {names} of {offers_in_words(len(offers))}." if counts else ""


def offers_in_words(count: int) -> str:
    return f"{count:,} offer" if count == 1 else f"{count:,} offers"


def disk_need_gb(llm: LlmSpec, gpu: GpuType) -> float:
    """Weights once, however many replicas share them, and the engine's environment; a CPU host has that already."""
    return llm.weight_bytes / 1e9 * WEIGHTS_MARGIN + (ENVIRONMENT_DISK_GB if gpu.compute_capability else 0.0)


def fetch_s(llm: LlmSpec, gpu: GpuType, gbit_per_s: float) -> float:
    """Seconds until weights and environment have come in over a line that is filled all the time."""
    return disk_need_gb(llm, gpu) * 8 / gbit_per_s


def ram_need_gb(gpus: int) -> float:
    """Weights pass through the host's memory file by file, so their size does not count."""
    return HOST_RAM_GB + gpus * WORKER_RAM_GB + SHARD_RAM_GB


def refusals_in_words(refusals: Sequence[Refusal]) -> str:
    """One example of each lack, in full sentences."""
    first = {refusal.lack: refusal for refusal in reversed(refusals)}
    return " ".join(f"{refusal.offer.offer_id}: {refusal.reason}." for refusal in first.values())


def _disk(llm: LlmSpec, offer: Offer) -> str:
    need = disk_need_gb(llm, offer.gpu)
    short = 0 < offer.disk_gb < need
    return f"{offer.disk_gb:.0f} GB of disk; weights and environment take {need:.0f}" if short else ""


def _card(gpu: GpuType) -> str:
    old = 0 < gpu.compute_capability < COMPUTE_CAPABILITY
    return f"{gpu.name} has compute capability {gpu.compute_capability}; vLLM needs {COMPUTE_CAPABILITY}" if old else ""


def _dtype(llm: LlmSpec, gpu: GpuType) -> str:
    if not runs_on(llm, gpu):
        return f"{gpu.name} has no bfloat16, which {llm.dtype} weights need"
    if llm.fp8 and 0 < gpu.compute_capability < FP8_CAPABILITY:
        return f"{gpu.name} has compute capability {gpu.compute_capability}; fp8 needs {FP8_CAPABILITY}"
    return ""


def _driver(offer: Offer) -> str:
    if not offer.gpu.compute_capability:
        return ""
    if 0 < offer.cuda_version < CUDA_VERSION:
        return f"its driver serves CUDA {offer.cuda_version}; vLLM's wheels need {CUDA_VERSION}"
    if 0 < offer.driver_version < DRIVER_VERSION:
        return f"driver {offer.driver_version}; CUDA {CUDA_VERSION} needs {DRIVER_VERSION:.0f}"
    return ""


def _ram(offer: Offer) -> str:
    need = ram_need_gb(offer.gpu_count)
    short = 0 < offer.ram_gb < need and offer.gpu.compute_capability > 0
    return f"{offer.ram_gb:.0f} GB of RAM; {offer.gpu_count} engine workers take {need:.0f}" if short else ""


def _line(llm: LlmSpec, offer: Offer) -> str:
    """A provider's default is no figure of the offer's own."""
    default = NETWORK_DEFAULTS.get(offer.provider, PESSIMISTIC).gbit_per_s
    unstated = "inet_down_gbit_per_s" in offer.estimated and offer.inet_down_gbit_per_s == default
    if offer.provider in OWN or unstated or not offer.inet_down_gbit_per_s:
        return ""
    needs_s = fetch_s(llm, offer.gpu, offer.inet_down_gbit_per_s)
    if needs_s <= LONGEST_FETCH_S:
        return ""
    return (
        f"weights and environment take {needs_s / 3600:.1f} h over its {1000 * offer.inet_down_gbit_per_s:.0f} Mbit/s; "
        f"expected {LONGEST_FETCH_S / 3600:g} h or less"
    )
