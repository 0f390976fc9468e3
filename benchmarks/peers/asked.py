"""A peer as a process of its own environment: asked in lines of JSON (`sides/`), and how long each answer took."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
SIDES = Path(__file__).parent / "sides"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, or why nothing did."""

    found: Any
    refused: str
    wall_s: float
    cpu_s: float

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        return cls(told.get("answer"), told.get("refused", ""), told["wall_s"], told["cpu_s"])


class Peer:
    """One side, from its start to its end; imports are over when the first answer begins to be timed."""

    def __init__(self, side: str) -> None:
        command = [str(PYTHON), "-W", "ignore", str(SIDES / f"{side}.py")]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def ask(self, kind: str, **question: Any) -> Answer:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"kind": kind, **question}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"The side ended with {self._process.wait()} before it answered {kind!r}.")
        return Answer.of(json.loads(line))


def versions(names: Sequence[str]) -> str:
    """`aiconfigurator 0.12.0, …` of the peers' environment."""
    code = "import sys, importlib.metadata as m; print(', '.join(f'{n} {m.version(n)}' for n in sys.argv[1:]))"
    return subprocess.run([PYTHON, "-c", code, *names], check=True, capture_output=True, text=True).stdout.strip()


def silicon_rows() -> Path | None:
    """Whole engines as NVIDIA measured them, which aiconfigurator-core brings along."""
    library = PYTHON.parents[1] / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    found = library / "aiconfigurator_core" / "systems" / "silicon_sample.csv"
    return found if found.is_file() else None
