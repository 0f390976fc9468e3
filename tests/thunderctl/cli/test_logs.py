"""`thunderctl logs` as a user meets it; tests/thunderctl/logs has the rest."""

import os
import signal
import subprocess
import sys

import pytest

from thunderctl.cli.main import main
from thunderctl.world import open_world


@pytest.fixture
def log(tmp_path, monkeypatch):
    """The router's log of a deployment without machines."""
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with open_world("default") as world:
        world.router.folder.mkdir()
        log = world.router.folder / "router.log"
    log.write_text("one\ntwo\nthree\n")
    return log


def run(capsys, *arguments, code=0):
    with pytest.raises(SystemExit) as ended:
        main(["logs", *arguments])
    shown = capsys.readouterr()
    assert (ended.value.code or 0) == code, shown.err
    return shown


@pytest.mark.usefixtures("log")
def test_one_log_is_shown_as_it_is_and_several_by_their_names(capsys):
    assert run(capsys, "router", "--lines", "2").out == "two\nthree\n"
    assert run(capsys, "-n", "1").out == "router | three\n"
    assert run(capsys, "router", "controller", "-n", "1").out == "router | three\n"
    assert "Nothing here is called 'r7'" in run(capsys, "r7", code=2).err


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "thunderctl", "logs", "-f", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )


def test_ctrl_c_ends_it_quietly_with_130(log):
    process = start("router", "-n", "1")
    assert process.stdout is not None
    assert process.stdout.readline() == "three\n"
    with log.open("a") as file:
        file.write("four\n")
    assert process.stdout.readline() == "four\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (130, "", "")


def test_a_reader_that_goes_away_ends_it(log):
    with start() as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        with log.open("a") as file:
            file.write("nobody reads this\n")
        assert process.wait(timeout=120) == 0
        assert process.stderr.read() == ""
