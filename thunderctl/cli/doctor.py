"""`thunderctl doctor`: what is wrong here, and how to mend it."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from planner.errors import ThunderError
from thunderctl.cli import output
from thunderctl.cli.options import JsonOption, SpecOption

FREE_GB = 5.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; `mend` is what to do where it is not ok."""

    name: str
    ok: bool
    detail: str
    mend: str = ""


def doctor(
    context: typer.Context,
    spec: SpecOption = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure this host's CPU engines, for plans that use them (3 minutes).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check versions, the engine environment, the spec, the store, disk and port; or calibrate this host's engines.

    Example: thunderctl doctor --calibrate
    """
    if calibrate:
        from thunderctl.cli.calibration import run_calibration

        run_calibration(as_json=as_json)
        return
    checks = [
        _python(),
        _check("spec", lambda: _spec(spec), "Correct it, or write a new one with `thunderctl init`."),
        _check("engine environment", _engine, "In a checkout: make setup. Else set THUNDER_ENGINE_PYTHON."),
        _check("calibration", _calibration, "Measure anew: thunderctl doctor --calibrate"),
        _check("store", _store, "Look at THUNDER_HOME and THUNDER_DATABASE_URL."),
        _disk(),
        _check("port", lambda: _port(context.obj, spec), "Choose another: [serve] listen."),
    ]
    if as_json:
        output.print_json({"schema": "thunder.doctor/v1", "checks": [asdict(check) for check in checks]})
    else:
        rows = [("✓" if c.ok else "✗", c.name, c.detail, "" if c.ok else c.mend) for c in checks]
        output.show(output.table("Doctor", ("", "check", "found", "mend"), rows))
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def _check(name: str, look: Callable[[], str], mend: str) -> Check:
    try:
        return Check(name, True, look())
    except (ThunderError, OSError, subprocess.SubprocessError) as error:
        said = error.message if isinstance(error, ThunderError) else str(error)
        hint = error.hint if isinstance(error, ThunderError) else ""
        return Check(name, False, said, hint or mend)


def _python() -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Check("python", sys.version_info >= (3, 11), version, "Python 3.11 or newer is needed.")


def _spec(path: Path | None) -> str:
    from thunderctl.spec import DEFAULT_PATH, load_spec

    load_spec(path)
    read = path or DEFAULT_PATH
    return f"{read} is well formed" if read.exists() else "none; the defaults are used"


def _engine() -> str:
    from thunderctl.compose import engine_python, engine_version

    return f"{engine_version()} in {engine_python()}"


def _calibration() -> str:
    from thunderctl.calibration.record import in_force, recorded

    found = recorded()
    if found is None:
        return "none: plans for this host's CPU are guesses until `thunderctl doctor --calibrate`"
    if in_force() is None:
        return f"not used: of another machine ({found.machine.cpu}, {found.machine.cores} cores)"
    return f"of {found.created_at}"


def _store() -> str:
    from thunderctl.home import database_url
    from thunderctl.store.store import Store

    with Store() as store:
        count = len(store.deployments())
    where = database_url()
    return f"{where.split('@')[-1]}, {count} deployments"


def _disk() -> Check:
    from thunderctl.home import thunder_home

    free = shutil.disk_usage(thunder_home()).free / 1e9
    detail = f"{free:.0f} GB free under {thunder_home()}"
    return Check("disk", free >= FREE_GB, detail, f"Free {FREE_GB:.0f} GB, or move THUNDER_HOME.")


def _port(deployment: str, path: Path | None) -> str:
    from runtime.listening import bound_socket, parse_listen
    from thunderctl.home import deployment_folder, keys_file
    from thunderctl.router_process import RouterProcess
    from thunderctl.spec import load_spec

    router = RouterProcess(deployment_folder(deployment) / "router", keys_file(deployment))
    listen = load_spec(path).serve.listen
    if router.running():
        return f"{router.endpoint} is our own router"
    bound_socket(*parse_listen(listen)).close()
    return f"{listen} is free"
