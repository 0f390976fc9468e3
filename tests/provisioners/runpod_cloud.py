"""What RunPod would be like inside, as far as its API shows: stock, pods, and a clock that they age by.

Written from the reference of REST API version 2; `runpod_server.py` puts it on the wire.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

OWNER_KEY = "rpa_owner"
STEPS = ("PROVISIONING", "STARTING", "RUNNING")
ADDRESS = "203.0.113.20"


def gpu_type(gpu_id: str, memory: int, usd: float, stock: dict[str, int], **other: Any) -> dict[str, Any]:
    """A row of the catalogue; `usd` is $/h of one GPU, `stock` how many GPUs of it are free in which data centre."""
    return {
        "id": gpu_id,
        "name": gpu_id.removeprefix("NVIDIA "),
        "pool": None,
        "manufacturer": "NVIDIA",
        "memory": memory,
        "secure": True,
        "community": False,
        "price": {"secure": usd, "community": usd / 2},
        "maxCount": {"secure": 8, "community": 0},
        "stock": stock,
    } | other


@dataclass
class Pod:
    """What was asked for, and what has become of it. `ports_s` passes between running and being reached."""

    pod_id: str
    body: dict[str, Any]
    usd_per_hour: float
    made_at: float
    key: str
    state_word: str = ""
    stuck: bool = False
    skew_s: float = 0.0

    @property
    def name(self) -> str:
        return str(self.body["name"])


@dataclass
class RunPodCloud:
    """One account's world. `faults` spoils answers by operation (create, list, destroy, search), first come first."""

    clock: Callable[[], float]
    gpus: list[dict[str, Any]] = field(default_factory=list)
    boot_s: float = 0.0
    limited: bool = True
    pods: dict[str, Pod] = field(default_factory=dict)
    faults: dict[str, deque[str]] = field(default_factory=dict)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    owner_key: str = OWNER_KEY
    pods_may_end_themselves: bool = True
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _calls: list[float] = field(default_factory=list)

    def fault(self, operation: str) -> str:
        queue = self.faults.get(operation)
        return queue.popleft() if queue else ""

    def spoil(self, operation: str, *faults: str) -> None:
        self.faults.setdefault(operation, deque()).extend(faults)

    def too_often(self) -> bool:
        """Whether one more call would be the 61st of a minute; it counts if not."""
        self._calls = [at for at in self._calls if at > self.clock() - 60]
        full = self.limited and len(self._calls) >= 60
        self._calls += [] if full else [self.clock()]
        return full

    def catalogue(self, count: int) -> list[dict[str, Any]]:
        """By what is free for pods of so many GPUs."""
        return [
            {name: value for name, value in gpu.items() if name != "stock"}
            | {"dataCenters": [{"id": dc, "name": dc, "availability": _level(n // count)} for dc, n in free.items()]}
            for gpu in self.gpus
            for free in (self.free(gpu),)
        ]

    def free(self, gpu: dict[str, Any]) -> dict[str, int]:
        left = dict(gpu["stock"])
        for pod in self.pods.values():
            if pod.body["gpu"]["id"] == gpu["id"] and pod.state_word != "EXITED":
                left[pod.body["dataCenterIds"][0]] -= pod.body["gpu"]["count"]
        return left

    def rent(self, body: dict[str, Any]) -> Pod | None:
        """None where there is no room, or no such GPU: the two are answered alike."""
        wanted, place = body["gpu"], body["dataCenterIds"][0]
        gpu = next((one for one in self.gpus if one["id"] == wanted["id"]), None)
        if gpu is None or self.free(gpu).get(place, 0) < wanted["count"]:
            return None
        return self.put(body, gpu["price"]["secure"] * wanted["count"])

    def put(self, body: dict[str, Any], usd_per_hour: float) -> Pod:
        number = next(self._numbers)
        pod = Pod(f"pod{number:08d}", body, usd_per_hour, self.clock(), f"pod-key-{number}")
        self.pods[pod.pod_id] = pod
        return pod

    def put_foreign(self, name: str = "my notebook") -> str:
        """Somebody else's pod on the same account."""
        body = {"name": name, "gpu": {"id": "NVIDIA A30", "count": 1}, "dataCenterIds": ["X"], "disk": 50, "ports": []}
        return self.put(body, 5.0).pod_id

    def labels(self) -> dict[str, str]:
        return {pod.name: pod.pod_id for pod in self.pods.values()}

    def row(self, pod: Pod) -> dict[str, Any]:
        """The pod as lists show it."""
        state = pod.state_word or self._state(pod)
        mapped = [
            {"private": int(port.partition("/")[0]), "public": 40_000 + n, "type": "tcp", "ip": ADDRESS}
            for n, port in enumerate(pod.body["ports"])
        ]
        started = datetime.fromtimestamp(pod.made_at + pod.skew_s, UTC).isoformat().replace("+00:00", "Z")
        return {
            "id": pod.pod_id,
            "name": pod.name,
            "image": pod.body.get("image", ""),
            "args": pod.body.get("args", ""),
            "disk": pod.body["disk"],
            "ports": pod.body["ports"],
            "env": pod.body.get("env", {}),
            "registry": None,
            "status": state,
            "actions": ["terminate"],
            "mounts": {},
            "gpu": pod.body["gpu"],
            "cloud": "SECURE",
            "dataCenterId": pod.body["dataCenterIds"][0],
            "template": None,
            "cost": 0.0 if state in ("EXITED", "TERMINATED") else pod.usd_per_hour,
            "locked": False,
            "globalNetworking": {"enabled": False},
            "runtime": {"uptime": 1, "ports": mapped} if state == "RUNNING" else None,
            "createdAt": started,
            "startedAt": started if state == "RUNNING" else None,
        }

    def usd_per_hour(self, pod: Pod) -> float:
        """What it charges: nothing for one that has ended, else the GPUs and $0.10 a month for each GB of disk."""
        ended = (pod.state_word or self._state(pod)) in ("EXITED", "TERMINATED")
        return 0.0 if ended else pod.usd_per_hour + 0.10 * pod.body["disk"] / 720

    def _state(self, pod: Pod) -> str:
        steps = (self.clock() - pod.made_at) / (self.boot_s / 2) if self.boot_s else 2
        return STEPS[min(1 if pod.stuck else 2, int(steps))]


def _level(copies: int) -> str:
    return "NONE" if copies < 1 else "LOW" if copies < 4 else "MEDIUM" if copies < 16 else "HIGH"
