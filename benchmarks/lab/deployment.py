"""The lab's deployment, as its operator has it: commands in processes of their own, on hosts reached by SSH alone."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.lab.hosts import Host
from planner.deployment import Plan
from planner.document import plan_from_json, plan_to_json
from tests.operating import Operator
from thunderctl.hosts.engine_environment import engine_python

FIRST_SLO = {"ttft_s": 60.0, "tpot_s": 1.0}
"""Of the plan that nothing was measured for: any host that serves at all will do."""
STEADY = {"rebalance": False, "listen": ""}
ADAPTING = STEADY | {
    "rebalance": True,
    "assess_s": 2,
    "window_s": 20,
    "rebalance_margin": 0.02,
    "rebalance_cool_down_s": 5,
}


class Refused(RuntimeError):
    """A command of ours ended otherwise than it should; what it said."""


@dataclass(slots=True)
class Deployment:
    """`folder` has the spec and THUNDER_HOME; `seconds` is how long each step of the first `up` took."""

    folder: Path
    hosts: Sequence[Host]
    operator: Operator = field(init=False)

    def __post_init__(self) -> None:
        self.operator = Operator(self.folder, state="home")

    @property
    def home(self) -> Path:
        return self.operator.state

    def write_spec(self, controller: Mapping[str, Any], trace: Path) -> None:
        (self.folder / "thunder.toml").write_text(spec_text(self.hosts, controller, trace), encoding="utf-8")

    def first_plan(self) -> Plan:
        """Of all hosts, by what is known of such machines in general."""
        return plan_from_json(self.command("plan", "--fixed"))

    def up(self, plan: Plan | None = None) -> dict[str, Any]:
        """The apply document. Without a plan it goes on with the one in force."""
        if plan is None:
            return self.command("up", "--yes")
        path = self.folder / "plan.json"
        path.write_text(json.dumps(plan_to_json(plan)), encoding="utf-8")
        return self.command("up", path.name, "--yes")

    def down(self) -> dict[str, Any]:
        return self.command("down", "--yes")

    def status(self) -> dict[str, Any]:
        return self.operator.look()

    def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.command("events")["events"]
        return found

    def command(self, *arguments: str) -> dict[str, Any]:
        """What it prints with `--json`. Raises Refused."""
        process = self.operator.start(*arguments, "--json")
        said, narrated = process.communicate()
        if process.returncode:
            told = (said + narrated)[-2000:]
            raise Refused(f"thunderctl {' '.join(arguments)} ended with {process.returncode}:\n{told}")
        document: dict[str, Any] = json.loads(said)
        return document

    def use_home(self) -> None:
        """Have what is called in this process, not by a command, work on this deployment too."""
        os.environ["THUNDER_HOME"] = str(self.home)


def spec_text(hosts: Sequence[Host], controller: Mapping[str, Any], trace: Path) -> str:
    """`thunder.toml`: every host at the same price, so that only what it can do tells one from another."""
    sections = {
        "model": {"name": "tiny-llama"},
        "engine": {"max_model_len": 4096},
        "workload": {"trace": str(trace)},
        "slo": FIRST_SLO,
        "budget": {"usd_per_hour": round(0.02 * len(hosts), 2)},
        "markets": {"providers": ["ssh"]},
        "serve": {"listen": "127.0.0.1:0"},
        "controller": controller,
        **{f"ssh.hosts.{host.name}": _host(host) for host in hosts},
    }
    return "\n".join(line for name, keys in sections.items() for line in (f"[{name}]", *_lines(keys)))


def _host(host: Host) -> dict[str, Any]:
    return {
        "address": str(host.server.address),
        "folder": str(host.folder / "disk"),
        "key": str(host.server.folder / "login"),
        "gpu": "CPU",
        "gpu_count": 1,
        "usd_per_hour": 0.02,
        "engine_python": engine_python(),
    }


def _lines(keys: Mapping[str, Any]) -> list[str]:
    """TOML's strings, numbers, truths and lists of these are JSON's."""
    return [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
