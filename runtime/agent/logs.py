"""What of an engine's log a person needs: its end, and why it died."""

import re
from itertools import takewhile
from pathlib import Path

from runtime.agent.shortening import kept_path

TAIL_BYTES = 256 * 1024
LINES_SHOWN = 30
LINES_BELOW = 2

_EXCEPTION = re.compile(r"^\s*(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Failed|Dead): \S")
_PREFIX = re.compile(r"^(?:\(\w+[^)]*\) )?(?:[A-Z]+ \d\d-\d\d [\d:]+ \[[^\]]*\] ?)?")
_WRAPPERS = (
    "Engine core initialization failed",
    "EngineCore encountered an issue",
    "cancelled",
    "WorkerProc initialization",
)
_NOISE = re.compile(
    r"nanobind|^ - leaked |^ - \.\.\. skipped|Route: /|resource_tracker|DeprecationWarning|FutureWarning|warnings\.warn"
    r"|safetensors checkpoint shards|^\s*$|api_utils\.py.*[█▄▀]|Triton is installed"
)


def tail(path: Path, lines: int, *, start: int = -TAIL_BYTES) -> list[str]:
    """The last lines of a log, none before offset `start`. An engine that never wrote has no lines.

    A negative offset is so far before the end of what was moved aside (`shortening.py`).
    """
    now, size = _end(path, max(start, 0))
    if size < start:  # moved aside, which nobody wrote down
        now, start = _end(path, 0)[0], -TAIL_BYTES
    missing = TAIL_BYTES - len(now)
    before = _end(kept_path(path), 0)[0][max(start, -missing) :] if start < 0 < missing else b""
    text = (before + now).decode(errors="replace")
    return text.splitlines()[-lines:] if lines > 0 else []


def _end(path: Path, start: int) -> tuple[bytes, int]:
    """The last bytes of a file from an offset on, and the file's size: nothing of one that is not there."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(start, size - TAIL_BYTES))
            return file.read(), size
    except FileNotFoundError:
        return b"", 0


def why_it_died(lines: list[str]) -> str:
    """The exception that says most, then the last lines that are not noise.

    vLLM logs the cause in the process where it arose and wraps it on the way up; the last line that is no wrapper says
    most.
    """
    plain = [_PREFIX.sub("", line) for line in lines]
    found = [_exception(plain, index) for index, line in enumerate(plain) if _EXCEPTION.search(line)]
    causes = [text for text in found if not any(wrapper in text for wrapper in _WRAPPERS)] or found
    said = [short for short, line in zip(plain, lines, strict=True) if not _NOISE.search(line)]
    return "\n".join([*causes[-1:], *said[-LINES_SHOWN:]])


def _exception(lines: list[str], index: int) -> str:
    """An exception's line with those set in below it, where pydantic says what is really wrong."""
    below = takewhile(lambda line: line.startswith("  "), lines[index + 1 : index + 1 + LINES_BELOW])
    return " ".join([lines[index].strip(), *(line.strip() for line in below)])
