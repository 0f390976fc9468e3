"""Paths in a spec: meant of the folder that it lies in, and the same for whoever reads what was stored."""

import json
from pathlib import Path

import pytest

from thunderctl.spec.inputs import read_workload
from thunderctl.spec.spec import Spec, load_spec, parse_spec, planning_changes
from thunderctl.spec.stored_spec import read_stored

TRACE = "arrival_s,prompt_tokens,output_tokens\n0,10,5\n2,30,5\n"
TEXT = """
model = { name = "shapes/config.json" }
engine = { chat_template = "chat.jinja", lora = { sql = "adapters/sql", far = "/adapters/far" } }
workload = { trace = "requests.csv" }
serve = { tls_cert = "full.pem", tls_key = "/etc/key.pem" }
[ssh.hosts.lab]
address = "a"
gpu = "CPU"
gpu_count = 1
key = "~/.ssh/lab"
engine_python = "bin/python"
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A spec in a folder, beside its trace; commands run in another one."""
    folder, elsewhere = tmp_path / "mine", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("HOME", "/home/ann")
    (folder / "requests.csv").write_text(TRACE)
    (folder / "thunder.toml").write_text(TEXT)
    return folder / "thunder.toml"


def test_paths_are_of_the_folder_that_the_spec_lies_in(written):
    spec, folder = load_spec(written), written.parent
    assert spec.model.name == f"{folder}/shapes/config.json"
    assert spec.workload.trace == f"{folder}/requests.csv"
    assert spec.engine.chat_template == f"{folder}/chat.jinja"
    assert spec.engine.lora == {"sql": f"{folder}/adapters/sql", "far": "/adapters/far"}
    assert (spec.serve.tls_cert, spec.serve.tls_key) == (f"{folder}/full.pem", "/etc/key.pem")
    lab = spec.ssh.hosts["lab"]
    assert (lab.key, lab.engine_python) == ("/home/ann/.ssh/lab", "bin/python")  # the latter is a path there


def test_what_was_stored_is_read_in_any_folder(written, monkeypatch):
    monkeypatch.chdir(written.parent)
    stored = json.loads(json.dumps(load_spec().model_dump(mode="json", exclude_unset=True)))
    monkeypatch.chdir("/")
    assert read_workload(read_stored(stored)[0]).prompt_tokens_mean == 20


def test_what_was_not_stated_stays_so(written):
    written.write_text("[budget]\nmax_hours = 3\n")
    assert load_spec(written).model_dump(exclude_unset=True) == {"budget": {"max_hours": 3}}


@pytest.mark.parametrize(("name", "is_file"), [("qwen3-32b", False), ("Qwen/Qwen3-32B", False), ("here", True)])
def test_a_model_is_a_path_where_there_is_such_a_folder(written, name, is_file):
    (written.parent / "here").mkdir()
    written.write_text(f'[model]\nname = "{name}"\n')
    assert load_spec(written).model.name == (str(written.parent / name) if is_file else name)


@pytest.mark.parametrize(
    "where", ['serve = { place = "ssh:b", %s }', 'controller = { where = "ssh:b" }\nserve = { %s }']
)
def test_certificates_of_another_host_stay_as_they_are_written(written, where):
    written.write_text(where % 'tls_cert = "a.pem", tls_key = "b.pem"')
    assert load_spec(written).serve.tls_cert == "a.pem"


def test_a_plan_is_not_made_anew_as_an_older_version_stored_the_same_path(written, monkeypatch):
    monkeypatch.chdir(written.parent)
    stored = parse_spec(TEXT)
    assert stored.workload.trace == "requests.csv"
    assert planning_changes(stored, load_spec()) == []
    assert planning_changes(Spec(), load_spec()) == ["model", "workload", "ssh"]


def test_a_home_that_nobody_has_is_a_name_like_any_other(written):
    written.write_text('[workload]\ntrace = "~nobody-of-that-name/x.csv"\n')
    assert Path(load_spec(written).workload.trace).parent.parent == written.parent
