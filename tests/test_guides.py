"""Every command in the guides and the smoke tests, and every spec of these, is one that there is."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from tests.pages import ROOT, blocks
from thunderctl.cli.main import UsageError, app
from thunderctl.spec.spec import parse_spec

GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
SMOKE_TESTS = sorted((ROOT / "examples").glob("smoke_*.sh"))
DOLLARS_AT_MOST = 1.0


def shell_of(path: Path) -> str:
    return path.read_text() if path.suffix == ".sh" else "\n".join(blocks(path, "sh"))


def commands(script: str) -> Iterator[list[str]]:
    """The arguments of each call of thunderctl, those in a subshell or behind `&&` too."""
    joined = script.replace("\\\n", " ")
    for line in joined.splitlines():
        for part in re.split(r"[|;&()]+|<<", line.partition(" #")[0]):
            words = part.removeprefix("    ").split()
            if "thunderctl" in words and not line.lstrip().startswith(("#", "echo")):
                yield shlex.split(" ".join(words[words.index("thunderctl") + 1 :]))


def check(arguments: list[str]) -> None:
    """Read a command line as the program would, and don't do it. Raises UsageError."""
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        while arguments[0].startswith("--"):  # such as --deployment NAME
            arguments = arguments[2:]
        name, *arguments = arguments
        if name not in command.commands:
            raise UsageError(f"no command {name}")
        command = command.commands[name]
    command.make_context(command.name, arguments)


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_every_command_is_one_that_there_is(path):
    found = list(commands(shell_of(path)))
    assert found
    for arguments in found:
        check(arguments)


@pytest.mark.parametrize(
    "wrong", ["upp --yes", "up --yess", "gc --owner", "plan --budget 2 --goal fame", "keys destroy", "leases surplus"]
)
def test_a_command_that_there_is_not_is_noticed(wrong):
    [arguments] = commands(f"VAR=1 thunderctl {wrong} && true")
    with pytest.raises(UsageError):
        check(arguments)


@pytest.mark.parametrize("path", SMOKE_TESTS, ids=lambda path: path.name)
def test_a_smoke_test_is_a_script_and_can_spend_a_dollar_at_most(path):
    subprocess.run(["bash", "-n", str(path)], check=True)
    [text] = re.findall(r"thunder\.toml <<'END'\n(.*?)^END$", path.read_text(), re.MULTILINE | re.DOTALL)
    budget = parse_spec(text).budget
    assert budget.usd_per_hour * budget.max_hours <= DOLLARS_AT_MOST
    assert budget.max_total_usd <= DOLLARS_AT_MOST


STUB = """#!/bin/sh
echo "$*" >>calls
case "$1" in
up) exit "$UP_CODE" ;;
down) [ "$(grep -c "^down" calls)" -gt "$DOWNS_THAT_FAIL" ] ;;
esac
"""


@pytest.mark.parametrize(
    ("up", "downs_that_fail", "code", "said"),
    [
        (0, 0, 0, "Nothing is left"),
        (3, 0, 3, "Nothing is left"),
        (3, 1, 3, "Nothing is left"),
        (0, 9, 1, "SOMETHING MAY STILL BILL"),
    ],
)
@pytest.mark.parametrize("path", SMOKE_TESTS, ids=lambda path: path.name)
def test_a_smoke_test_takes_everything_down_however_it_went(path, up, downs_that_fail, code, said, tmp_path):
    """With a thunderctl that only writes down how it was called, and a curl that does nothing."""
    stubs, home = tmp_path / "bin", tmp_path / "home"
    for folder in (stubs, home):
        folder.mkdir()
    for name, text in (("thunderctl", STUB), ("curl", "#!/bin/sh\n")):
        (stubs / name).write_text(text)
        (stubs / name).chmod(0o755)
    (home / "owner-id").write_text("the-owner")
    environment = {
        "PATH": f"{stubs}:/usr/bin:/bin",
        "THUNDER_SMOKE_HOME": str(home),
        "THUNDER_SMOKE_PAUSE_S": "0",
        "UP_CODE": str(up),
        "DOWNS_THAT_FAIL": str(downs_that_fail),
        "VAST_API_KEY": "k",
        "RUNPOD_API_KEY": "k",
    }
    done = subprocess.run(["bash", str(path)], env=environment, capture_output=True, text=True, check=False)
    calls = [shlex.split(line) for line in (home / "calls").read_text().splitlines()]
    for arguments in calls:
        check(arguments)
    words = [arguments[0] for arguments in calls]
    assert words[:3] == ["offers", "plan", "up"]
    assert ("status" in words) == (up == 0)
    assert words.count("down") == min(downs_that_fail + 1, 5)
    assert done.returncode == code
    assert said in done.stdout + done.stderr
