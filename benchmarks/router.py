"""Our router beside vllm-router, over the same mock engines; writes `benchmarks/results/router.md`.

.venv/bin/python -m benchmarks.router [--repeat 3] [--seconds 2] [--router-bin .venv-benchmarks/bin/vllm-router]
    [--only overhead|kill|agents]

The cases are those of the shared tool beside the project, and without it nothing is measured. The routers take turns
within each repetition: figures of different hours don't compare.
"""

import argparse
import asyncio
import os
import platform
import shlex
import socket
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.router_mocks import SOCKETS, TOOL, load_tool
from benchmarks.router_rows import AGENTS, DEFAULT, KILLS, OURS, OVERHEAD, ROUND_ROBIN, Runs, lines, own_lines
from thunderctl.calibration.record import Machine

ROOT = Path(__file__).parents[1]
TARGET = Path(__file__).parent / "results" / "router.md"
ENVIRONMENT = ROOT / ".venv-benchmarks"
PEER_RELEASE = "0.1.17"
REQUESTS_S, KILL_S, KILL_AT_S, TOKENS = 30.0, 15.0, 4.0, 50
AGENTS_S = 1.0
BASE_PORT, ROUTER_AT = 18100, 90
"""The tool's mocks listen from the one on, and the routers so much above."""
VICTIMS = ("decode", "prefill")

Once = Callable[[argparse.Namespace, Any], Coroutine[Any, Any, dict[str, Any]]]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--repeat", type=int, default=3)
    options.add_argument("--seconds", type=float, default=2.0, help="length of each phase")
    options.add_argument("--router-bin", type=Path, default=ENVIRONMENT / "bin" / "vllm-router")
    options.add_argument("--only", choices=["overhead", "kill", "agents"])
    asked = options.parse_args()
    for path, what in ((TOOL, "The shared tool is not beside the project"), (asked.router_bin, "No vllm-router")):
        if not path.exists() and (path is TOOL or asked.only != "agents"):
            print(f"Skipped. {what}: {path.name} was looked for.", file=sys.stderr)
            return
    _is_free(BASE_PORT + ROUTER_AT)
    tool, commands = load_tool(), routers(asked.router_bin)
    text = "\n".join([*header(asked), *sections(tool, commands, asked)]) + "\n"
    if asked.only is None:
        TARGET.write_text(text, encoding="utf-8")
    print(text)


def _is_free(port: int) -> None:
    """What an earlier run left would answer in the place of whoever is measured."""
    with socket.socket() as looked:
        if looked.connect_ex(("127.0.0.1", port)) == 0:
            sys.exit(f"Something listens on port {port} already, perhaps of a run that was killed: end it first.")


def routers(binary: Path) -> dict[str, str]:
    """The commands to start them by, as the tool takes them."""
    peer = (
        f"env PYTHONPATH={shlex.quote(str(ENVIRONMENT))} {shlex.quote(str(binary))} --host 127.0.0.1 --port {{port}}"
        " --vllm-pd-disaggregation {P:--prefill %s} {D:--decode %s} --prometheus-port {port2} --log-level error"
    )
    return {DEFAULT: f"{peer} --policy cache_aware", ROUND_ROBIN: f"{peer} --policy round_robin", OURS: own_command()}


def own_command() -> str:
    python = shlex.quote(sys.executable)
    return f"{python} -m benchmarks.router_ours --port {{port}} {{P:--prefill %s}} {{D:--decode %s}}"


def sections(tool: ModuleType, commands: dict[str, str], asked: argparse.Namespace) -> Iterator[str]:
    if asked.only in (None, "overhead"):
        runs = taken_in_turns(tool, commands, overhead_case(asked.seconds), asked.repeat, tool.overhead_once)
        yield from ("## Overhead", "", *lines(OVERHEAD, runs), "")
        errors = sum(phase.get("errors", 0) for reports in runs.values() for report in reports for phase in of(report))
        yield from (f"Wrong or failed answers in all of it, direct ones included: {errors}.", "")
    if asked.only in (None, "kill"):
        for victim in VICTIMS:
            runs = taken_in_turns(tool, commands, kill_case(victim), asked.repeat, tool.kill_once)
            yield from (f"## One of two {victim} engines killed", "", *lines(KILLS, runs), "")
            yield from (*outcomes(runs), "")
    if asked.only in (None, "agents"):
        yield from through_agents(tool)


def through_agents(tool: ModuleType) -> Iterator[str]:
    """Ours alone, and once: what mutual TLS and an agent before each engine add to what was measured without."""
    yield from ("## Through agents (mutual TLS)", "")
    yield "Each mock has an agent before it, a process of its own, as every instance has; ours alone, and once."
    yield "Then one of the two decode engines is killed, and its agent says so."
    yield ""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[SOCKETS] = folder
        command = {OURS: f"{own_command()} --sockets {shlex.quote(folder)}"}
        case = overhead_case(AGENTS_S, concurrency=(32,))
        added = taken_in_turns(tool, command, case, 1, tool.overhead_once)
        killed = taken_in_turns(tool, command, kill_case("decode"), 1, tool.kill_once)
        del os.environ[SOCKETS]
    yield from (*own_lines(AGENTS, added[OURS]), "")
    yield from (*own_lines(KILLS, killed[OURS]), "", *outcomes(killed), "")


def of(report: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (phase for phase in report.values() if isinstance(phase, dict))


def taken_in_turns(
    tool: ModuleType, commands: dict[str, str], case: argparse.Namespace, repeat: int, once: Once
) -> Runs:
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    for number in range(repeat):
        for name, command in commands.items():
            print(f"{case.title}, {number + 1} of {repeat}: {name}", file=sys.stderr)
            fleet = tool.Fleet(argparse.Namespace(**{**vars(case), "cmd": command}))
            try:
                fleet.start()
                runs[name].append(asyncio.run(once(case, fleet)))
            finally:
                fleet.stop()
    return runs


def overhead_case(seconds: float, concurrency: Sequence[int] = (32, 256)) -> argparse.Namespace:
    return _case(title="overhead", seconds=seconds, concurrency=concurrency, streams=64)


def kill_case(victim: str) -> argparse.Namespace:
    load = {"rate": REQUESTS_S, "duration": KILL_S, "tokens": TOKENS, "prefill_ms": 30.0, "timeout": 20.0}
    death = {"victim": victim, "signal": "KILL", "kill_at": KILL_AT_S, "restart_after": None}
    return _case(title=f"a {victim} engine killed", **load, **death)


def _case(**values: Any) -> argparse.Namespace:
    """What the tool's own command line would give it."""
    fleet = {"plain": False, "prefills": 2, "decodes": 2, "base_port": BASE_PORT, "url": None, "pid": None}
    start = {"router_bin": "", "router_log": None, "policy": "", "startup_timeout": 90.0}
    return argparse.Namespace(**fleet, **start, chat=False, interval_ms=20.0, **values)


def header(asked: argparse.Namespace) -> Iterator[str]:
    machine = Machine.here()
    yield "# The router beside vllm-router"
    yield ""
    yield f"Measured by `.venv/bin/python -m benchmarks.router --repeat {asked.repeat} --seconds {asked.seconds:g}` on"
    yield f"{machine.cores} cores of {machine.cpu}, Python {platform.python_version()}, uvloop {version('uvloop')},"
    yield f"httptools {version('httptools')}; vllm-router {PEER_RELEASE} with its default policy (cache_aware) and with"
    yield f"round_robin. The load average was {os.getloadavg()[0]:.1f} when this began. Two prefill and two decode"
    yield "mocks, the client and the router share the cores. The routers took turns, each in every repetition; medians."
    yield "What is added is the time over that of the two legs asked without a router."
    yield ""
    yield "Our router asks engines for token ids, to be able to go on with a stream elsewhere: the mocks write it"
    yield "larger chunks than they write vllm-router, and it takes the ids out again."
    yield ""


def outcomes(runs: Runs) -> Iterator[str]:
    """What became of the streams that the killed engine was in the middle of, and of all requests."""
    for name, reports in runs.items():
        kinds = [", ".join(f"{count} {kind}" for kind, count in report["kinds"].items()) for report in reports]
        on_victim = [report["spanning_on_victim"].get("ok", 0) for report in reports]
        yield f"- {name}: {'; '.join(kinds)}. Begun by the killed engine and whole nevertheless: {on_victim}."


if __name__ == "__main__":
    main()
