"""What Vast.ai would be like inside, as far as its answers show: asks, contracts, and a clock that they age by.

Written from the API's facts; `vast_server.py` puts it on the wire.
"""

import csv
import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

HOURS_A_MONTH = 730
OWNER_KEY = "owner-key"
STORAGE_USD_PER_GB_MONTH = 0.15
ON_VAST = {"A100 40GB": "A100 PCIE", "A100 80GB": "A100 SXM4", "RTX 6000 Ada": "RTX 6000Ada", "H200 SXM": "H200"}
"""The names of the sampled prices, where Vast has others."""
TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda found, wanted: found == wanted,
    "neq": lambda found, wanted: found != wanted,
    "gt": lambda found, wanted: found > wanted,
    "lt": lambda found, wanted: found < wanted,
    "gte": lambda found, wanted: found >= wanted,
    "lte": lambda found, wanted: found <= wanted,
    "in": lambda found, wanted: found in wanted,
    "notin": lambda found, wanted: found not in wanted,
}


def bundle(
    ask_id: int, gpu_name: str = "RTX A6000", gpu_ram: int = 49140, num_gpus: int = 1, usd: float = 0.4, **other: Any
) -> dict[str, Any]:
    """An ask as the search shows it, on a machine of its own; `usd` is $/h of its GPUs."""
    return {
        "id": ask_id,
        "machine_id": 1000 + ask_id,
        "host_id": 7,
        "gpu_name": gpu_name,
        "gpu_ram": gpu_ram,
        "num_gpus": num_gpus,
        "gpu_mem_bw": 680.0,
        "compute_cap": 860,
        "cuda_max_good": 13.0,
        "driver_version": "580.65.06",
        "bw_nvlink": 0.0,
        "cpu_ram": 257_000,
        "cpu_cores": 64,
        "cpu_cores_effective": 16.0,
        "disk_space": 900.0,
        "inet_up": 800.0,
        "inet_down": 900.0,
        "inet_up_cost": 0.002,
        "inet_down_cost": 0.001,
        "dph_base": usd,
        "min_bid": round(usd / 2, 4),
        "storage_cost": STORAGE_USD_PER_GB_MONTH,
        "reliability2": 0.99,
        "verification": "verified",
        "external": False,
        "hosting_type": 0,
        "geolocation": "Texas, US",
        "duration": 30 * 86_400.0,
        "direct_port_count": 20,
        "static_ip": True,
        "score": 100.0 - ask_id,
    } | other


def held(one: dict[str, Any], name: str) -> Any:
    """What a filter of that name is held against: `verified` is a word of filters, and no field of asks."""
    return one["verification"] == "verified" if name == "verified" else one[name]


def sampled(path: Path, most: int = 200) -> list[dict[str, Any]]:
    """Asks at prices that were seen on the market."""
    found = []
    with path.open() as file:
        for number, row in enumerate(itertools.islice(csv.DictReader(file), most), 1):
            ram = round(float(row["vram_gb"]) * 1024)
            name = ON_VAST.get(row["gpu"], row["gpu"])
            usd = float(row["usd_per_gpu_hr"]) * int(row["num_gpus"])
            where = {"geolocation": row["region"], "reliability2": float(row["reliability"])}
            found.append(bundle(number, name, ram, int(row["num_gpus"]), usd, **where))
    return found


def asked_ports(body: dict[str, Any]) -> list[int]:
    """The ports in a container that are to be reached from outside: "-p outer:inner" among its environment."""
    return [int(name.split(":")[-1]) for name in body.get("env") or {} if name.startswith("-p ")]


@dataclass
class Contract:
    """An instance: what was asked for, and what has become of it.

    Its ports are listed `ports_after_s` after it runs, those that are `unmapped` never.
    """

    contract_id: int
    ask: dict[str, Any]
    body: dict[str, Any]
    made_at: float
    key: str
    gpus_usd_per_hour: float
    stopped: bool = False
    stuck: bool = False
    broken: bool = False
    state_word: str = ""
    start_skew_s: float = 0.0
    ssh_keys: list[str] = field(default_factory=list)
    ports_after_s: float = 0.0
    unmapped: tuple[int, ...] = ()
    announced_usd_per_hour: float | None = None

    @property
    def dph_total(self) -> float:
        return (0.0 if self.stopped else self.gpus_usd_per_hour) + storage_usd(self.ask, self.body["disk"])


def storage_usd(ask: dict[str, Any], disk_gb: float) -> float:
    return ask["storage_cost"] * disk_gb / HOURS_A_MONTH


class Containers(Protocol):
    """What runs where contracts are for; without any, a contract only says that it does."""

    def start(self, contract: Contract) -> None:
        """Begin to boot it; returns at once."""

    def place(self, contract: Contract) -> tuple[str, dict[int, int]] | None:
        """Its public address, and port in it → port there; None until it has booted."""

    def end(self, contract: Contract) -> None:
        """End it with all that runs in it; returns at once."""


@dataclass
class VastMarket:
    """One account's world. `faults` spoils answers by operation (create, list, destroy, search), first come first."""

    clock: Callable[[], float]
    bundles: list[dict[str, Any]] = field(default_factory=list)
    boot_s: float = 0.0
    limited: bool = True
    contracts: dict[int, Contract] = field(default_factory=dict)
    faults: dict[str, deque[str]] = field(default_factory=dict)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    taken_status: int = 410
    wrong_key_status: int = 401
    owner_key: str = OWNER_KEY
    account: int = 71
    scoped: bool = False
    quota_used_up: bool = False
    containers: Containers | None = None
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(5_000_001))
    _calls: dict[str, list[float]] = field(default_factory=dict)

    def fault(self, operation: str) -> str:
        queue = self.faults.get(operation)
        return queue.popleft() if queue else ""

    def spoil(self, operation: str, *faults: str) -> None:
        self.faults.setdefault(operation, deque()).extend(faults)

    def too_often(self, operation: str, most: int, within_s: float) -> bool:
        """Whether one more call would be more than `most` in that time; it counts if not."""
        now = self.clock()
        calls = [at for at in self._calls.get(operation, []) if at > now - within_s + 1e-6]
        full = self.limited and len(calls) >= most
        self._calls[operation] = calls if full else [*calls, now]
        return full

    def search(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        asked = dict(query)
        order = asked.pop("order", [["score", "desc"]])
        limit, kind = asked.pop("limit", 64), asked.pop("type", "on-demand")
        disk_gb = asked.pop("allocated_storage", 5.0)
        assert kind in ("on-demand", "bid")
        free = self.free_gpus()
        found = [self._shown(one, disk_gb) for one in self.bundles if one["num_gpus"] <= free[one["machine_id"]]]
        for name, test in asked.items():
            found = [one for one in found if all(TESTS[word](held(one, name), limit_) for word, limit_ in test.items())]
        for name, direction in reversed(order):
            found.sort(key=lambda one, name=name: one[name], reverse=direction == "desc")
        return found[:limit]

    def free_gpus(self) -> Counter[int]:
        """By machine: the same GPUs are sold in several sizes."""
        free: Counter[int] = Counter()
        for one in self.bundles:
            free[one["machine_id"]] = max(free[one["machine_id"]], one["num_gpus"])
        for contract in self.contracts.values():
            free[contract.ask["machine_id"]] -= 0 if contract.stopped else contract.ask["num_gpus"]
        return free

    def rent(self, ask: dict[str, Any], body: dict[str, Any], *, stopped: bool = False) -> Contract:
        number = next(self._numbers)
        usd = ask["dph_base"] if body.get("price") is None else body["price"]
        contract = Contract(number, ask, body, self.clock(), f"instance-key-{number}", usd, stopped)
        self.contracts[number] = contract
        if self.containers and not stopped:
            self.containers.start(contract)
        return contract

    def destroy(self, number: int) -> bool:
        """Whether there was one."""
        contract = self.contracts.pop(number, None)
        if self.containers and contract:
            self.containers.end(contract)
        return contract is not None

    def put_foreign(self, label: str | None = "my notebook") -> int:
        """Somebody else's machine on the same account."""
        return self.rent(bundle(1, usd=5.0), {"disk": 10, "label": label, "env": {}}).contract_id

    def labels(self) -> dict[str, int]:
        return {str(contract.body.get("label")): number for number, contract in self.contracts.items()}

    def row(self, contract: Contract) -> dict[str, Any]:
        """The instance as lists show it."""
        state = self._state(contract)
        up = state == "running"
        address, mapped = self._place(contract)
        ports = {f"{inner}/tcp": [{"HostIp": "0.0.0.0", "HostPort": str(outer)}] for inner, outer in mapped.items()}
        intended = "stopped" if contract.stopped else "running"
        return {
            "id": contract.contract_id,
            "label": contract.body.get("label"),
            "actual_status": state,
            "cur_state": intended,
            "intended_status": intended,
            "next_state": intended,
            "status_msg": "OCI runtime create failed: no such device" if contract.broken else "",
            "is_bid": contract.body.get("price") is not None,
            "machine_id": contract.ask["machine_id"],
            "gpu_name": contract.ask["gpu_name"],
            "num_gpus": contract.ask["num_gpus"],
            "dph_total": contract.dph_total,
            "start_date": contract.made_at + contract.start_skew_s,
            "end_date": contract.made_at + float(contract.ask.get("duration") or 0.0),
            "extra_env": [list(pair) for pair in (contract.body.get("env") or {}).items()],
            "public_ipaddr": address if up else None,
            "ports": ports if up and self.clock() >= contract.made_at + self.boot_s + contract.ports_after_s else None,
            "ssh_host": "ssh4.vast.ai",
            "ssh_port": 10_000 + contract.contract_id % 1000,
        }

    def pending(self) -> list[dict[str, Any]]:
        """Price rises that hosts announced."""
        return [
            {
                "pending_price_increase_id": number,
                "contract_id": number,
                "host_id": 7,
                "old_gpu_costpersec": contract.gpus_usd_per_hour / 3600,
                "new_gpu_costpersec": contract.announced_usd_per_hour / 3600,
                "contract_end_date": contract.made_at + 86_400,
            }
            for number, contract in self.contracts.items()
            if contract.announced_usd_per_hour is not None
        ]

    def _shown(self, one: dict[str, Any], disk_gb: float) -> dict[str, Any]:
        return one | {"dph_total": one["dph_base"] + storage_usd(one, disk_gb), "rentable": True, "rented": False}

    def _place(self, contract: Contract) -> tuple[str, dict[int, int]]:
        """All share one public address, each port with an outer one of its own."""
        if self.containers:
            return self.containers.place(contract) or ("", {})
        mapped = {port: 40_000 + n for n, port in enumerate([22, *asked_ports(contract.body)])}
        return "203.0.113.9", {inner: outer for inner, outer in mapped.items() if inner not in contract.unmapped}

    def _state(self, contract: Contract) -> str | None:
        """Boots in three steps; null, which is not a word, comes first."""
        if contract.state_word or contract.stopped or contract.broken:
            return contract.state_word or ("created" if contract.broken else "exited")
        if self.containers and self.containers.place(contract) is None:
            return "loading"
        steps = (self.clock() - contract.made_at) / (self.boot_s / 3) if self.boot_s else 3
        return (
            "loading" if contract.stuck and steps >= 1 else (None, "created", "loading", "running")[min(3, int(steps))]
        )
