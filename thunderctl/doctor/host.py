"""What is checked of this host: versions, the spec, the engine environment, disk, port, and the `ssh` program."""

import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from planner.errors import SpecError
from runtime.listening import bound_socket, parse_listen
from thunderctl import __version__
from thunderctl.calibration.record import in_force, recorded
from thunderctl.doctor.check import Check, check
from thunderctl.home import deployment_folder, keys_file, thunder_home
from thunderctl.hosts.engine_environment import engine_python, engine_version
from thunderctl.processes.router_process import RouterProcess
from thunderctl.spec.spec import DEFAULT_PATH, Spec, load_spec

FREE_GB = 5.0
OLDEST_PYTHON = (3, 11)
BY_SSH = ("vast", "aws", "runpod", "ssh")
SETUP = "In a checkout: make setup. Else set THUNDER_ENGINE_PYTHON."


def host_checks(deployment: str, path: Path | None, spec: Spec) -> list[Check]:
    """All of them. `path` is the spec's, where one was named, and `spec` what it says."""
    return [
        _python(),
        Check("thunderctl", True, __version__),
        check("spec", lambda: _spec(path), "Correct it, or write a new one with `thunderctl init`."),
        _engine(spec.markets.providers),
        check("calibration", _calibration, "Measure anew: thunderctl doctor --calibrate"),
        _disk(),
        check("port", lambda: _port(deployment, spec.serve.listen), "Choose another: [serve] listen."),
        _ssh(spec.markets.providers),
    ]


def written(path: Path | None) -> Spec | None:
    """The spec of that file or of this folder. None where there is none, or a wrong one: that is found apart."""
    try:
        return load_spec(path) if path or DEFAULT_PATH.exists() else None
    except SpecError:
        return None


def _python() -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Check("python", sys.version_info >= OLDEST_PYTHON, version, "Python 3.11 or newer is needed.")


def _spec(path: Path | None) -> str:
    load_spec(path)
    read = path or DEFAULT_PATH
    return f"{read} is well formed" if read.exists() else "none; the defaults are used"


def _engine(providers: Iterable[str]) -> Check:
    """This host's own, which only machines of the local provider need."""
    found = check("engine environment", lambda: f"{engine_version()} in {engine_python()}", SETUP)
    if found.ok or "local" in providers:
        return found
    return Check(found.name, True, "none here; only the local provider needs one", found.mend)


def _calibration() -> str:
    found = recorded()
    if found is None:
        return "none: plans for this host's CPU are guesses until `thunderctl doctor --calibrate`"
    if in_force() is None:
        return f"not used: of another machine ({found.machine.cpu}, {found.machine.cores} cores)"
    return f"of {found.created_at}"


def _disk() -> Check:
    free = shutil.disk_usage(thunder_home()).free / 1e9
    detail = f"{free:.0f} GB free under {thunder_home()}"
    return Check("disk", free >= FREE_GB, detail, f"Free {FREE_GB:.0f} GB, or move THUNDER_HOME.")


def _port(deployment: str, listen: str) -> str:
    router = RouterProcess(deployment_folder(deployment) / "router", keys_file(deployment))
    if router.running():
        return f"{router.endpoint} is our own router"
    host, port = parse_listen(listen)
    bound_socket(host, port).close()
    return f"{listen} is free" if port else f"{host}: whichever is free"


def _ssh(providers: Iterable[str]) -> Check:
    """`thunderctl ssh` runs it; everything else has SSH of its own."""
    mend = "Install OpenSSH's client (apt install openssh-client): `thunderctl ssh` runs it."
    program = shutil.which("ssh")
    if program is None:
        needed = any(provider in BY_SSH for provider in providers)
        return Check("ssh program", not needed, "none" if needed else "none; the local provider needs none", mend)
    try:
        done = subprocess.run([program, "-V"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Check("ssh program", False, f"{program} does not run: {error}", mend)
    return Check("ssh program", True, f"{done.stderr.strip() or done.stdout.strip()}, {program}")
