"""What a shell is told at a tab: names that the store knows, soon, and whatever the store is."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from planner.document import plan_to_json
from provisioners.leases.journal import LeaseRow, LeaseState
from runtime.files import write_json
from tests.planner.plans import split_plan
from thunderctl.cli import completion
from thunderctl.store.store import Store
from thunderctl.store.values import Deployment

COMMAND = Path(sys.executable).with_name("thunderctl")
PLAN = split_plan()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Two deployments; of the first, two plans, machines of which one is gone, and what happened."""
    home = tmp_path / "home"
    monkeypatch.setenv("THUNDER_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    with Store() as store:
        for number, name in enumerate(("aaa111", "abb222")):
            store._now = lambda at=number: at
            store.save_plan(name, "default", plan_to_json(replace(PLAN, plan_id=name)))
        store.save_deployment(Deployment("default", plan_id="abb222"))
        store.save_deployment(Deployment("staging"))
        for number, state in enumerate((LeaseState.READY, LeaseState.GONE, LeaseState.DRAINING)):
            known = ("owner", "default", "p", f"i{number}", "vast", "", "o", f"label{number}", 1.0)
            store.add_lease(LeaseRow(f"l{number}", *known, state, 0.0))
        store.record("default", "step.lease", "x")
        store.record("staging", "controller.route", "y")
    return home


def completed(*words, shell="bash"):
    """what the shell is told when the last of these words is to be completed."""
    line = ["thunderctl", *words]
    environment = {
        **os.environ,
        "_THUNDERCTL_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": " ".join(line),
        "COMP_CWORD": str(len(words)),
        "_TYPER_COMPLETE_ARGS": " ".join(line),
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = subprocess.run([str(COMMAND)], capture_output=True, text=True, env=environment, check=False, timeout=240)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--deployment", "st"), ["staging"]),
        (("up", ""), ["abb222", "aaa111"]),
        (("up", "aa"), ["aaa111"]),
        (("ssh", ""), ["i0", "i2"]),
        (("logs", ""), ["r0", "r1", "r2", "i0", "i2", "router", "controller"]),
        (("logs", "r0", "r"), ["r0", "r1", "r2", "router"]),
        (("rebalance", "--without", "i"), ["i0", "i2"]),
        (("events", "--kind", ""), ["step.lease"]),
        (("--deployment", "staging", "events", "--kind", ""), ["controller.route"]),
        (("--deployment", "staging", "up", ""), []),
        (("hist",), ["history"]),
    ],
)
@pytest.mark.usefixtures("home")
def test_names_are_completed_from_the_store(words, found):
    assert completed(*words) == found


@pytest.mark.parametrize("shell", ["zsh", "fish"])
@pytest.mark.usefixtures("home")
def test_other_shells_are_told_the_same(shell):
    said = " ".join(completed("ssh", "i", shell=shell))
    assert "i0" in said
    assert "i2" in said


@pytest.mark.usefixtures("home")
def test_a_tab_loads_nothing_heavy():
    code = (
        "import sys\n"
        "from thunderctl.cli.main import main\n"
        "try: main([])\n"
        "except SystemExit: pass\n"
        "heavy = [name for name in ('sqlmodel', 'sqlalchemy', 'cvxpy', 'numpy', 'rich.console') "
        "if name in sys.modules]\n"
        "print(heavy, file=sys.stderr)"
    )
    environment = {
        **os.environ,
        "_THUNDERCTL_COMPLETE": "complete_bash",
        "COMP_WORDS": "thunderctl logs r",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.argv[0] = 'thunderctl'\n{code}"],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert done.stdout.split() == ["r0", "r1", "r2", "router"]
    assert done.stderr.strip() == "[]"


class Context:
    """A command's context below that of the global options."""

    def __init__(self, **params):
        self.params = params

    def find_root(self):
        return self


def test_of_a_store_elsewhere_it_knows_what_lies_in_the_deployments_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path))
    monkeypatch.setenv("THUNDER_DATABASE_URL", "postgresql://nobody@example.invalid/store")
    router = tmp_path / "deployments" / "prod" / "router"
    router.mkdir(parents=True)
    write_json(router / "routes.json", {"replicas": [{"id": "r0"}, {"id": "r1"}]})
    assert completion.deployments("") == ["prod"]
    assert completion.replicas(Context(deployment="prod"), "") == ["r0", "r1"]
    assert completion.plan_ids(Context(deployment="prod"), "") == []


@pytest.mark.parametrize("content", [None, b"no database", b""])
def test_where_there_is_no_store_nothing_is_completed_and_none_is_made(tmp_path, monkeypatch, content):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("THUNDER_DATABASE_URL", raising=False)
    if content is not None:
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "store.db").write_bytes(content)
    assert completion.plan_ids(Context(), "") == completion.deployments("") == completion.machines(Context(), "") == []
    assert (tmp_path / "home").exists() == (content is not None)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shells_script_can_be_shown(shell):
    environment = {**os.environ, "_THUNDERCTL_COMPLETE": f"source_{shell}"}
    done = subprocess.run([str(COMMAND)], capture_output=True, text=True, env=environment, check=True)
    assert "_THUNDERCTL_COMPLETE" in done.stdout


@pytest.mark.usefixtures("home")
def test_bash_completes_by_the_script_that_it_is_shown():
    """As at a tab: the script is read, and the function that it registers for the command is called."""
    script = (
        'eval "$(_THUNDERCTL_COMPLETE=source_bash thunderctl)"\n'
        "wanted=$(complete -p thunderctl); wanted=${wanted##* -F }; wanted=${wanted%% *}\n"
        'COMP_WORDS=(thunderctl up aa); COMP_CWORD=2; "$wanted" thunderctl aa up; echo "${COMPREPLY[@]}"'
    )
    environment = {**os.environ, "PATH": f"{COMMAND.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["aaa111"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_can_read_their_script(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: apt-get install {shell}")
    environment = {**os.environ, "_THUNDERCTL_COMPLETE": f"source_{shell}"}
    script = tmp_path / "script"
    script.write_bytes(subprocess.run([str(COMMAND)], capture_output=True, env=environment, check=True).stdout)
    subprocess.run([shell, "-n", str(script)], check=True)
