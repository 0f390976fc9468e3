"""`make demo` says what disk it needs before it downloads anything."""

import os
import subprocess
from pathlib import Path

import pytest

ROOM = Path(__file__).parents[1] / "requirements" / "room.sh"


@pytest.mark.parametrize(
    ("installed", "free_gb", "code", "said"),
    [
        ([], 6.9, 1, "make demo needs 7 GB of disk"),
        ([], 7.5, 0, ""),
        ([".venv", ".venv-engine"], 1.5, 0, ""),
        ([".venv"], 1.5, 1, "needs 5 GB of disk"),
    ],
)
def test_what_is_installed_already_needs_no_room(tmp_path, installed, free_gb, code, said):
    script = tmp_path / "clone" / "requirements" / "room.sh"
    script.parent.mkdir(parents=True)
    script.write_bytes(ROOM.read_bytes())
    for name in installed:
        (script.parents[1] / name).mkdir()
        (script.parents[1] / name / ".lock-installed").touch()
    df = tmp_path / "bin" / "df"
    df.parent.mkdir()
    df.write_text(f"#!/bin/sh\necho Filesystem\necho /dev/x 99999999 0 {int(free_gb * 1e9 / 1024)} 1% /\n")
    df.chmod(0o755)
    path = f"{df.parent}:{os.environ['PATH']}"
    done = subprocess.run(["bash", script], env={"PATH": path}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert bool(done.stderr) == bool(said)
