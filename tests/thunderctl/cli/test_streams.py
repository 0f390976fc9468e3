"""stdout and stderr as shells leave them: closed, full, with a reader who has enough, or without our letters."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

THUNDERCTL = (sys.executable, "-P", "-c", "from thunderctl.cli.main import main; main()")
FULL = Path("/dev/full")


@pytest.fixture
def environment(tmp_path):
    return {**os.environ, "THUNDER_HOME": str(tmp_path / "home"), "COLUMNS": "80"}


@pytest.mark.parametrize("words", [["--help"], ["status"]])
def test_a_reader_who_has_enough_is_no_failure(words, environment):
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run([*THUNDERCTL, *words], stdout=writes, stderr=subprocess.PIPE, env=environment, check=False)
    os.close(writes)
    assert done.returncode == 0
    assert b"Error" not in done.stderr


def test_work_goes_on_where_nobody_reads_what_is_narrated(environment):
    reads, writes = os.pipe()
    os.close(reads)
    words = ("keys", "create", "alice")
    done = subprocess.run([*THUNDERCTL, *words], stdout=subprocess.PIPE, stderr=writes, env=environment, check=False)
    os.close(writes)
    assert done.returncode == 0
    assert done.stdout.startswith(b"sk-thunder-")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", [["--help"], ["history", "--json"]])
def test_output_that_finds_no_room_is_a_failure_and_no_traceback(words, environment):
    with FULL.open("w") as full:
        done = subprocess.run(
            [*THUNDERCTL, *words], stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "This is a bug" not in done.stderr


@pytest.mark.parametrize("closing", [">&-", ">&- 2>&- <&-"])
def test_closed_streams_are_like_dev_null(closing, environment):
    shell = ["bash", "-c", f'"$@" {closing}', "bash", *THUNDERCTL, "status"]
    assert subprocess.run(shell, capture_output=True, env=environment, check=False).returncode == 0


def test_letters_that_an_encoding_lacks_are_question_marks(environment):
    old = {**environment, "PYTHONIOENCODING": "ascii"}
    code = "from thunderctl.cli import output, streams; streams.make_usable(); output.show('a → b'); print('✓ c')"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, env=old, check=False)
    assert (done.stdout.split(), done.stderr) == (["a", "?", "b", "?", "c"], "")
