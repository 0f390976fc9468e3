"""Deployments by hand for the web page: a source whose documents a test changes, and a command that answers so."""

import json
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from planner.document import plan_to_json
from tests.thunderctl.api.serving import Made
from tests.thunderctl.controller.situations import PLAN
from tests.thunderctl.tui import worlds
from thunderctl.api.series import series_document
from thunderctl.status.documents.events import rfc3339

COMMAND = """
import json, os, sys, time
from pathlib import Path
words, here = sys.argv[1:], Path(__file__).parent
action = next(word for word in words if word in ("rebalance", "undrain", "up", "down"))
dry = "--dry-run" in words
with (here / "asked").open("a") as asked:
    asked.write(json.dumps(words) + "\\n")
sys.stderr.write("begun\\n"); sys.stderr.flush()
while not dry and (here / "hold").exists():
    time.sleep(0.01)
answer = json.loads((here / f"{action}.json").read_text())
print(json.dumps(answer))
sys.exit(4 if "error" in answer else 0)
"""


@dataclass
class Shown(Made):
    """`points`: of the series; `plans`: the plans' documents by id, the newest first."""

    document: dict[str, Any] = field(default_factory=worlds.serving)
    points: list[dict[str, Any]] = field(default_factory=lambda: whole_series())
    plans: dict[str, dict[str, Any]] = field(default_factory=lambda: two_plans())

    def __post_init__(self):
        for one in worlds.events():
            self.happens(one["kind"], one["message"])
            self.told[-1]["at"] = one["at"]

    def series(self, seconds):
        return series_document(self.points)

    async def history(self):
        self._reads()
        entries = [entry(one, self.document.get("plan_id", "")) for one in self.plans.values()]
        return {"schema": "thunder.history/v1", "plans": entries}

    async def plan(self, plan_id=""):
        self._reads()
        if plan_id not in self.plans:
            raise LookupError(f"There is no plan {plan_id} of this deployment.")
        return self.plans[plan_id]


def whole_series(*, late: bool = False) -> list[dict[str, Any]]:
    """The status screen's, with load and money."""
    points = worlds.series(late=late)
    return [
        {
            **one,
            "running": 130 + round(20 * (one["rate_rps"] - 7.9)),
            "waiting": max(0, round(6 * (one["rate_rps"] - 8.6))),
            "kv_usage": 0.47,
            "usd_per_hour": 11.32 if n > 60 else 9.48,
            "spent_usd": 43.02 - (len(points) - n) * 5 * 11.32 / 3600,
        }
        for n, one in enumerate(points)
    ]


def two_plans() -> dict[str, dict[str, Any]]:
    """The plan in force, and one before it in which replicas had other phases and a machine more was rented."""
    now = picture_plan("k7f3q2", worlds.serving(), worlds.NOW - 42)
    before = picture_plan("k7f3q1", worlds.serving(), worlds.NOW - 3880)
    before["replicas"][4] |= {"phase": "prefill"}
    before["routes"][3] |= {"prefill": "d2", "decode": "d0"}
    before["instances"].append({**before["instances"][0], "id": "i5", "offer_id": "offer-i5", "gpu": "A100"})
    before["predicted"] |= {"goodput_rps": 8.1, "slo_attainment": 0.91, "ttft_p99_s": 3.1}
    before["cost_usd_per_hour"] = 13.16
    return {"k7f3q2": now, "k7f3q1": before}


def picture_plan(plan_id: str, status: dict[str, Any], at: float) -> dict[str, Any]:
    """A plan's document with the replicas, machines and routes of a status document."""
    document = deepcopy(plan_to_json(PLAN))
    return document | {
        "plan_id": plan_id,
        "created_at": rfc3339(at),
        "cost_usd_per_hour": status["cost_usd_per_hour"],
        "model": {**document["model"], "name": status["model"]},
        "instances": [{**document["instances"][0], **_of(one)} for one in status["instances"]],
        "replicas": [
            {
                "id": one["id"],
                "phase": one["phase"],
                "tp": one["tp"],
                "pp": one["pp"],
                "stages": [{"instance": name, "gpus": [0], "layers": 30} for name in one["instances"]],
                "capacity_rps": 2.1,
                "kv_capacity_tokens": 90_000,
            }
            for one in status["replicas"]
        ],
        "routes": [
            {key: one[key] for key in ("prefill", "decode", "share", "codec")} | {"bandwidth_gbit_per_s": 10.0}
            for one in status["routes"]
        ],
        "predicted": {**document["predicted"], **status["predicted"], "usd_per_million_tokens": 1.9},
    }


def _of(machine: dict[str, Any]) -> dict[str, Any]:
    return {
        key: machine[key]
        for key in ("id", "offer_id", "provider", "region", "gpu", "gpu_count", "usd_per_hour", "interruptible")
    }


def entry(plan: dict[str, Any], in_force: str) -> dict[str, Any]:
    current = plan["plan_id"] == in_force
    return {
        "plan_id": plan["plan_id"],
        "created_at": plan["created_at"],
        "in_force": current,
        "state": "in force" if current else "",
        "in_force_since": plan["created_at"],
        "after": None,
        "amends": None,
        "model": plan["model"]["name"],
        "replicas": [{"id": one["id"], "phase": one["phase"]} for one in plan["replicas"]],
        "cost_usd_per_hour": plan["cost_usd_per_hour"],
        "budget_usd_per_hour": plan["budget_usd_per_hour"],
        "goodput_rps": plan["predicted"]["goodput_rps"],
        "slo_attainment": plan["predicted"]["slo_attainment"],
    }


def answers(folder: Path, **documents: dict[str, Any]) -> None:
    """Have the deployment's commands answer so, and write down how they were called."""
    (folder / "thunderctl.py").write_text(COMMAND)
    for name, document in {"rebalance": worlds.decided(), **documents}.items():
        (folder / f"{name}.json").write_text(json.dumps(document))


def asked_of(folder: Path) -> list[list[str]]:
    """How the commands were called."""
    written = folder / "asked"
    return [json.loads(line) for line in written.read_text().splitlines()] if written.exists() else []
