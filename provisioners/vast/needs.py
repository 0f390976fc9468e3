"""What a machine at Vast.ai must have, as its search takes it, and in words."""

from dataclasses import dataclass
from typing import Any

from planner.gpus import gpu_types
from planner.requirements import COMPUTE_CAPABILITY, CUDA_VERSION

LEAST_CARD = 0.9
"""Hosts state a little less memory than a card's type has."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a machine must have for an engine to run on it, as far as an offer says; the engine's part is vLLM's.

    `ports` are those that must be reachable from outside: the agent's, and SSH. `max_hours` is how long it is wanted.
    """

    disk_gb: float = 120.0
    max_hours: float = 12.0
    ports: int = 2
    cuda_version: float = CUDA_VERSION
    compute_capability: float = COMPUTE_CAPABILITY

    @property
    def cards(self) -> dict[str, dict[str, Any]]:
        """What the search is asked for: free machines of verified hosts, with a card that may do.

        Field → operator → limit, in raw API units. `verified` is the search's word; a bundle says `verification`.
        """
        least_gib = min(gpu.memory_gib for gpu in gpu_types().values() if gpu.compute_capability)
        return {
            "verified": {"eq": True},
            "rentable": {"eq": True},
            "rented": {"eq": False},
            "external": {"eq": False},
            "gpu_ram": {"gte": LEAST_CARD * least_gib * 1024},
            "compute_cap": {"gte": round(100 * self.compute_capability)},
        }

    @property
    def machines(self) -> dict[str, dict[str, Any]]:
        """What is looked at where it is stated. Asked for it, the search would leave out whoever states nothing."""
        return {"cpu_arch": {"eq": "amd64"}}

    @property
    def hosts(self) -> dict[str, dict[str, Any]]:
        """What of their hosts is needed besides, and has to be stated.

        The search is not asked for it, so that it can be said who fails.
        """
        return {
            "cuda_max_good": {"gte": self.cuda_version},
            "disk_space": {"gte": self.disk_gb},
            "direct_port_count": {"gte": self.ports},
            "duration": {"gte": 3600 * self.max_hours},
        }

    @property
    def in_words(self) -> dict[str, str]:
        """Field → what an offer is that fails it."""
        return {
            "verified": "not verified by Vast.ai",
            "cuda_max_good": f"with a driver older than CUDA {self.cuda_version}",
            "disk_space": f"with less than {self.disk_gb:.0f} GB of disk",
            "direct_port_count": f"with fewer than {self.ports} open ports",
            "duration": f"let for less than {self.max_hours:g} h",
            "gpu_ram": "with too small a card",
            "compute_cap": "with too old a card",
            "cpu_arch": "without an x86 CPU",
        }
