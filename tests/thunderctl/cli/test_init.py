"""`thunderctl init` as a user meets it: a file that says everything, changes nothing, and can be planned with."""

import re

import pytest
from pydantic import BaseModel

from thunderctl.cli.init import InitProvider
from thunderctl.cli.main import main
from thunderctl.spec.sections import SshHostSection
from thunderctl.spec.spec import Spec, load_spec

PROVIDERS = [str(provider) for provider in InitProvider]
LOCAL = {
    "model": {"name": "tiny-llama"},
    "engine": {"max_model_len": 4096},
    "slo": {"ttft_s": 10.0, "tpot_s": 0.02},
    "budget": {"usd_per_hour": 0.06},
}
"""What fits this host's cores; the file says so by its comments."""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code or 0


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_it_writes_is_the_defaults_of_that_provider(provider, tmp_path):
    assert run("init", "--provider", provider) == 0
    written = load_spec(tmp_path / "thunder.toml")
    given = {"markets": {"providers": [provider]}} | (LOCAL if provider == "local" else {})
    if provider == "ssh":
        assert written.ssh.hosts.keys() == {"lab1"}
        given["ssh"] = written.ssh.model_dump()
    assert written == Spec.model_validate(given)


def keys_of(model, section=""):
    """Every key that a spec can have, with its section: `model.name`."""
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from keys_of(annotation, f"{section}.{name}".strip("."))
        else:
            yield section, field.alias or name


def test_every_key_is_explained_in_one_of_them(tmp_path):
    texts = []
    for provider in PROVIDERS:
        run("init", "--provider", provider, "--spec", f"{provider}.toml")
        texts.append((tmp_path / f"{provider}.toml").read_text())
    wanted = {*keys_of(Spec), *(("ssh.hosts.lab1", key) for key in SshHostSection.model_fields)} - {("ssh", "hosts")}
    explained = set()
    for text in texts:
        section = ""
        for line in text.splitlines():
            if heading := re.match(r"\[([\w.]+)\]", line):
                section = heading[1]
            elif key := re.match(r"(?:# )?(\w+) = ", line):
                explained.add((section, key[1]))
    assert wanted - explained == set()


def test_it_overwrites_only_what_it_is_told_to_and_asks_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    (tmp_path / "thunder.toml").write_text("mine")
    assert run("init") == 4
    assert "left as it is" in capsys.readouterr().err
    assert (tmp_path / "thunder.toml").read_text() == "mine"
    assert run("init", "--yes", "--provider", "local") == 0
    assert 'providers = ["local"]' in (tmp_path / "thunder.toml").read_text()


def test_where_nothing_can_be_written_it_says_so(capsys):
    assert run("init", "--spec", "no/such/folder.toml") == 2
    assert "can't be written" in capsys.readouterr().err


def test_plan_takes_what_it_wrote(capsys):
    run("init", "--provider", "local")
    assert run("plan", "--json") == 0
    assert '"schema": "thunder.plan/v1"' in capsys.readouterr().out
