"""What was measured of late: a point every few seconds, for an hour, kept in memory."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from thunderctl.api.source import Document

POINT_EVERY_S = 5.0
KEPT_S = 3600.0
MEASURED = ("rate_rps", "ttft_p50_s", "ttft_p99_s", "tpot_p50_s", "tpot_p99_s", "slo_attainment")


def point_of(status: Mapping[str, Any], at: float) -> Document:
    """One point of `thunder.series/v1`. What nobody measured is null; `kv_usage` is the mean of the ready replicas'."""
    ready = [one for one in status["replicas"] if one["state"] == "ready"]
    usages = [one["kv_usage"] for one in ready if one["kv_usage"] is not None]
    return {
        "at": at,
        **{name: status["observed"].get(name) for name in MEASURED},
        "running": sum(one["running"] or 0 for one in status["replicas"]),
        "waiting": sum(one["waiting"] or 0 for one in status["replicas"]),
        "kv_usage": sum(usages) / len(usages) if usages else None,
        "usd_per_hour": status["cost_usd_per_hour"],
        "spent_usd": status["spent_usd"],
    }


def series_document(points: Iterable[Document]) -> Document:
    return {"schema": "thunder.series/v1", "points": list(points)}


@dataclass(slots=True)
class Ring:
    """The last hour's points, oldest first."""

    now: Callable[[], float] = time.time
    points: deque[Document] = field(default_factory=lambda: deque(maxlen=round(KEPT_S / POINT_EVERY_S)))

    def add(self, status: Mapping[str, Any]) -> Document:
        made = point_of(status, self.now())
        self.points.append(made)
        return made

    def since(self, seconds: float) -> list[Document]:
        after = self.now() - seconds
        return [one for one in self.points if one["at"] > after]
