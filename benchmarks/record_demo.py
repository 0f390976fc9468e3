"""Record a terminal: the life of a small deployment on this machine, as `benchmarks/results/demo.cast`.

Run by `.venv/bin/python -m benchmarks.record_demo` (about a minute: it starts real engines). The file is an asciicast
(version 2: a header, then `[seconds, "o", text]` a line); `make figures` makes docs/images/demo.svg of it. Everything
is real output of this machine; only the names of the temporary folder and of the project's are shortened.
"""

import fcntl
import json
import os
import pty
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from benchmarks.arguments import takes_none

ROOT = Path(__file__).parents[1]
TARGET = Path(__file__).parent / "results" / "demo.cast"
COLUMNS, ROWS = 104, 32
SPEC = "examples/local.toml"
COMMANDS = (
    "thunderctl plan --budget 14",
    f"thunderctl up --spec {SPEC} --yes",
    'python examples/chat.py ENDPOINT "def read_lines(path):"',
    "thunderctl rebalance --workload examples/writing.csv --yes",
    "thunderctl status --once",
    "thunderctl down --yes",
)
SHOWN_HOME, SHOWN_ROOT = "~/.thunder", "~"
TITLE = f"thunderctl, a real run on {os.cpu_count()} CPU cores; waits are shortened"
SHORT_S = 0.05
"""Output within so short a time is one event."""


def main() -> None:
    home = Path(tempfile.mkdtemp(prefix="thunder-demo."))
    environment = _environment(home)
    began = time.monotonic()
    header = {"version": 2, "width": COLUMNS, "height": ROWS, "title": TITLE}
    try:
        with TARGET.open("w", encoding="utf-8") as cast:
            cast.write(json.dumps(header) + "\n")
            for command in COMMANDS:
                for text in _played(command, environment):
                    shown = without(text, {str(home): SHOWN_HOME, str(ROOT): SHOWN_ROOT})
                    cast.write(json.dumps([round(time.monotonic() - began, 2), "o", shown]) + "\n")
    finally:
        subprocess.run(["thunderctl", "down", "--yes"], env=environment, capture_output=True, check=True)
        shutil.rmtree(home)
    print(f"Wrote {TARGET.relative_to(ROOT)}", file=sys.stderr)


def without(text: str, folders: Mapping[str, str]) -> str:
    """Other names for folders, shorter ones; what follows on the row stays where it was, so tables keep their width."""
    for folder, shown in folders.items():
        found = re.compile(rf"{re.escape(folder)}(\S*)( *)")
        text = found.sub(partial(_renamed, shown), text)
    return text


def _renamed(shown: str, found: re.Match[str]) -> str:
    return f"{shown}{found[1]}{found[2]}".ljust(len(found[0]))


def _environment(home: Path) -> dict[str, str]:
    """That of a user with the environment's commands on the path, and a terminal of colours."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    size = {"COLUMNS": str(COLUMNS), "LINES": str(ROWS)}
    own = {**os.environ, "PATH": path, "THUNDER_HOME": str(home), "TERM": "xterm-256color", **size}
    return {name: value for name, value in own.items() if name != "NO_COLOR"}


def _played(command: str, environment: dict[str, str]) -> Iterator[str]:
    """The prompt, then what the command writes to its terminal. Raises CalledProcessError where it fails."""
    words = shlex.split(command)
    if "ENDPOINT" in words:
        words[words.index("ENDPOINT")] = _endpoint(environment)
    yield f"\x1b[1;32m$\x1b[0m \x1b[1m{shlex.join(words)}\x1b[0m\r\n"
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    running = subprocess.Popen(words, cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        yield from _read(ours)
    finally:
        os.close(ours)
    if running.wait() != 0:
        raise subprocess.CalledProcessError(running.returncode, words)
    yield "\r\n"


def _read(terminal: int) -> Iterator[str]:
    """Until all that has it open has closed it. Characters that come in parts are put together."""
    kept = b""
    while True:
        try:
            time.sleep(SHORT_S)  # so that a redrawn screen is one event
            found = os.read(terminal, 1 << 16)
        except OSError:  # Linux's way to say that nobody writes any more
            return
        if not found:
            return
        kept += found
        text = kept.decode("utf-8", errors="ignore")
        kept = kept[len(text.encode()) :]
        if text:
            yield text


def _endpoint(environment: dict[str, str]) -> str:
    done = subprocess.run(["thunderctl", "status", "--json"], env=environment, capture_output=True, check=True)
    return str(json.loads(done.stdout)["endpoint"])


if __name__ == "__main__":
    takes_none(__doc__)
    main()
