"""The command line as a whole: light, documented, and one error form."""

import importlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import typer

from thunderctl.cli.main import app, main

ROOT = Path(__file__).parents[3]
COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
HEAVY = ("cvxpy", "boto3", "vastai", "paramiko", "textual", "torch", "sqlmodel", "rich.console", "matplotlib")


def test_help_loads_nothing_heavy():
    code = (
        "import sys\n"
        "from thunderctl.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "plan" in done.stdout


def test_a_command_ends_without_a_look_at_all_that_it_imported():
    code = (
        "import atexit, gc, sys\n"
        "from thunderctl.cli.main import main\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 10_000, file=sys.stderr))\n"
        "main()"
    )
    own = subprocess.run([sys.executable, "-P", "-c", code, "--version"], capture_output=True, text=True, check=True)
    within = code.replace("main()", "main(['--version'])")
    others = subprocess.run([sys.executable, "-P", "-c", within], capture_output=True, text=True, check=True)
    assert (own.stderr.strip(), others.stderr.strip()) == ("True", "False")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "run"])
def test_every_command_has_help_with_an_example_and_is_in_the_readme(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert "Example: thunderctl" in capsys.readouterr().out
    assert f"`{name}" in (ROOT / "README.md").read_text()


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("thunderctl ")


@pytest.mark.parametrize(
    ("arguments", "code", "kind", "said"),
    [
        (["plan", "--model", "no-such-model"], 2, "SpecError", "'no-such-model' is not known"),
        (["plan", "--budget", "-1"], 2, "SpecError", "--budget is -1"),
        (["plan", "--budget", "nan"], 2, "SpecError", "--budget is nan"),
        (["plan", "--budget", "many"], 2, "SpecError", "--budget"),
        (["plan", "--workload", "no.csv"], 2, "SpecError", "--workload is 'no.csv'"),
        (["plan", "--goal", "cost"], 2, "SpecError", "no rate is given"),
        (["plan", "--spec", "no.toml"], 2, "SpecError", "no.toml can't be read"),
        (["plan", "--offers", "no.csv"], 2, "SpecError", "no.csv can't be read"),
        (["plan", "--provider", "moon"], 2, "SpecError", "--provider is"),
        (["up", "no.json", "--yes"], 2, "SpecError", "no.json can't be read"),
        (["nonsense"], 2, "SpecError", "nonsense"),
        (["rebalance"], 4, "Refused", "not serving"),
        (["--deployment", "a/b", "status"], 2, "SpecError", "deployment name 'a/b'"),
    ],
)
def test_bad_input_is_one_clear_error_and_its_exit_code(arguments, code, kind, said, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--json"])
    error = json.loads(capsys.readouterr().out)["error"]
    assert (ended.value.code, error["kind"]) == (code, kind)
    assert said in error["message"]


def test_without_json_the_error_goes_to_stderr_alone(capsys):
    with pytest.raises(SystemExit):
        main(["plan", "--model", "no-such-model"])
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert "hint: " in shown.err


def test_init_writes_a_spec_once(tmp_path, capsys):
    path = tmp_path / "thunder.toml"
    with pytest.raises(SystemExit) as first:
        main(["init", "--provider", "local", "--spec", str(path)])
    with pytest.raises(SystemExit) as second:
        main(["init", "--spec", str(path)])
    assert (first.value.code, second.value.code) == (0, 4)
    assert 'providers = ["local"]' in path.read_text()
    assert "left as it is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["plan", "--spec", "latin.toml"], {}, "it is not UTF-8 text"),
        (
            ["plan", "--provider", "local", "--model", "tiny-llama", "--slo-ttft", "30", "--out", "no/x.json"],
            {},
            "can't be",
        ),
        (["plan", "--seed", "-1"], {}, "--seed"),
        (["status"], {"THUNDER_HOME": "/proc/x"}, "can't be made"),
        (["status"], {"THUNDER_DATABASE_URL": "foo://x"}, "THUNDER_DATABASE_URL can't be used"),
        (["plan"], {"THUNDER_LEASES_POLL_S": "abc"}, "THUNDER_LEASES_POLL_S is abc"),
    ],
)
def test_ordinary_bad_input_is_never_a_traceback(arguments, environment, said, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    Path("latin.toml").write_bytes(b"[model]\nname = '\xe9'")
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--json"])
    error = json.loads(capsys.readouterr().out)["error"]
    assert ended.value.code == 2
    assert said in error["message"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied", "/home/other/store"), "/home/other/store can't be reached"),
        (OSError(28, "No space left on device"), "is full: No space left on device"),
    ],
)
def test_what_the_system_refuses_is_no_bug_of_ours(error, said, capsys, monkeypatch, tmp_path):
    def refused(*_, **__):
        raise error

    monkeypatch.setenv("THUNDER_HOME", str(tmp_path))
    monkeypatch.setattr("thunderctl.history.entries", refused)
    with pytest.raises(SystemExit) as ended:
        main(["history"])
    shown = capsys.readouterr().err
    assert ended.value.code == 1
    assert said in shown
    assert "This is a bug" not in shown
    assert "hint: " in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status"], "Nothing is up. Next: thunderctl plan --out plan.json"),
        (["events"], "Nothing has happened yet."),
        (["events", "--kind", "nothing"], "No events are like that."),
    ],
)
def test_where_there_is_nothing_a_sentence_on_stderr_says_so(arguments, said, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path))
    for words, shown in ((arguments, True), ([*arguments, "--json"], False)):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
        assert (said in capsys.readouterr().err) == shown


def test_ctrl_c_while_modules_are_loaded_ends_it_as_later(monkeypatch, capsys):
    class Loading(ModuleType):
        def __getattr__(self, name):
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "thunderctl.cli.main", Loading("main"))
    with pytest.raises(SystemExit) as ended:
        importlib.import_module("thunderctl.__main__").main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "Interrupted before anything was done.\n"


def test_the_console_script_is_the_module_that_python_runs():
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert found == {"thunderctl": "thunderctl.__main__:main"}
