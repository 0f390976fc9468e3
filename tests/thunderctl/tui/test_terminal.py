"""`thunderctl status` on a real terminal: a process with a pseudo-terminal, as over SSH."""

import os
import pty
import select
import subprocess
import sys
import time

import pytest

COMMAND = [sys.executable, "-P", "-m", "thunderctl", "status"]
WITHIN_S = 240.0


@pytest.fixture
def terminal(tmp_path):
    """The command and our end of its terminal."""
    ours, theirs = pty.openpty()
    known = {name: value for name, value in os.environ.items() if not name.startswith("THUNDER_")}
    environment = known | {"THUNDER_HOME": str(tmp_path), "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen(COMMAND, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=tmp_path)
    os.close(theirs)
    yield process, ours
    process.kill()
    process.wait()
    os.close(ours)


def seen(ours: int, wanted: bytes) -> bytes:
    """What the terminal was sent until that came."""
    came, deadline = b"", time.monotonic() + WITHIN_S
    while wanted not in came:
        assert time.monotonic() < deadline, came[-2000:]
        if select.select([ours], [], [], 1.0)[0]:
            came += os.read(ours, 65536)
    return came


def test_it_opens_says_what_there_is_and_leaves_the_terminal_as_it_was(terminal):
    process, ours = terminal
    seen(ours, b"Nothing is deployed.")
    os.write(ours, b"q")
    assert b"\x1b[?1049l" in seen(ours, b"\x1b[?1049l")
    assert process.wait(WITHIN_S) == 0
