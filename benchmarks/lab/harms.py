"""What is done to the lab while it serves, and what is done about it where it does not mend itself."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.lab.hosts import SLOW_MBIT, Host
from benchmarks.lab.lab import Lab

CUT = 0.1
"""Of a slow line: a fast one has room enough for this model's KV even then."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Where it happens: to this host, or to what the deployment has beside its hosts."""

    lab: Lab
    host: Host


@dataclass(frozen=True, slots=True)
class Harm:
    """`do` happens to a host of that phase; `mend` is what an operator does after, once the load is over.

    `mends_itself` says that all is to be as before without anybody doing anything.
    """

    name: str
    phase: str
    do: Callable[[Scene], None]
    mend: Callable[[Scene], None]
    mends_itself: bool = False
    told: str = ""


def _nothing(at: Scene) -> None:
    """It mends itself."""


def cut_link(at: Scene) -> None:
    at.host.shape(SLOW_MBIT * CUT)


def widen_link(at: Scene) -> None:
    at.host.shape(SLOW_MBIT)


def kill_agent(at: Scene) -> None:
    _kill(at.host.folder / "disk" / "machine" / "run" / "agent.pid.json")


def kill_router(at: Scene) -> None:
    """As the kernel does where memory runs out: the process that serves is the large one."""
    (serving,) = psutil.Process(_pid(_router(at))).children()
    serving.kill()


def kill_supervisor(at: Scene) -> None:
    _kill(_router(at))


def kill_controller(at: Scene) -> None:
    os.kill(at.lab.deployment.status()["controller"]["pid"], signal.SIGKILL)


def bring_up(at: Scene) -> None:
    at.lab.deployment.up()


def kill_host(at: Scene) -> None:
    at.host.kill()


def switch_on_and_bring_up(at: Scene) -> None:
    at.host.switch_on()
    at.lab.deployment.up()


HARMS = (
    Harm("a prefill host's slow line cut to a tenth", "prefill", cut_link, widen_link, told="widened again"),
    Harm("a decode host's agent killed", "decode", kill_agent, _nothing, mends_itself=True, told="by itself"),
    Harm("router killed", "decode", kill_router, _nothing, mends_itself=True, told="by its supervisor"),
    Harm("its supervisor killed", "decode", kill_supervisor, _nothing, mends_itself=True, told="by the controller"),
    Harm("controller killed", "decode", kill_controller, bring_up, told="`up`"),
    Harm("a decode host killed", "decode", kill_host, switch_on_and_bring_up, told="switched on, `up`"),
)
"""The host last: nothing but `up` brings it back, and that takes an engine's start."""


def _router(at: Scene) -> Path:
    return at.lab.deployment.home / "deployments" / "default" / "router" / "router.json"


def _kill(record: Path) -> None:
    os.kill(_pid(record), signal.SIGKILL)


def _pid(record: Path) -> int:
    return int(json.loads(record.read_text())["pid"])
