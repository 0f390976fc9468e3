"""What is decided before a deployment moves or is asked: words, files, facts, credentials. No host is needed."""

import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from planner.errors import HostError, SpecError
from thunderctl.cli.there import read_typed
from thunderctl.hosted.asking import as_there
from thunderctl.hosted.credentials import asked_of, environment_file, merged, needed, read_environment, said
from thunderctl.hosted.environment import PINNED, proof
from thunderctl.hosted.facts import check, read_facts
from thunderctl.hosted.note import Away, Moving, read_away, write_away
from thunderctl.hosted.place import ControlHost, host_of
from thunderctl.hosted.spec_there import spec_there
from thunderctl.hosts.locks import lock_text
from thunderctl.spec.places import router_is_away
from thunderctl.spec.spec import Spec, parse_spec

HOSTS = """
[ssh.hosts.office]
address = "me@10.0.0.5:2222"
gpu = "CPU"
gpu_count = 1
key = "~/.ssh/lab"
jump = "gate"
sudo = true
"""
FACTS = read_facts("base /b\nos Linux\narch x86_64\nnow 1000\ndisk_free_kib 9000000\nwritable yes\n")
OFFICE = host_of("ssh:office", parse_spec(HOSTS))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_place_is_this_machine_a_host_of_the_spec_or_an_address():
    assert host_of("local", Spec()) is None
    assert (str(OFFICE.address), OFFICE.sudo) == ("me@10.0.0.5:2222", True)
    assert OFFICE.jump.endswith("@gate:22")
    assert str(host_of("ssh:ann@lab", Spec()).address) == "ann@lab:22"
    assert ControlHost.from_json(OFFICE.to_json()) == OFFICE


@pytest.mark.parametrize("place", ["ssh:", "lab1", "instance", ""])
@pytest.mark.parametrize(("section", "key"), [("serve", "place"), ("controller", "where")])
def test_another_place_is_refused_by_its_line(section, key, place):
    with pytest.raises(SpecError, match=rf"thunder.toml:2: \[{section}\] {key} is .*ssh:HOST"):
        parse_spec(f'[{section}]\n{key} = "{place}"\n')


def test_the_spec_there_is_local_there_and_names_copies_of_its_files(home):
    (home / "trace.csv").write_text("x")
    (home / "id").write_text("k")
    text = f"""
workload = {{ trace = "trace.csv" }}
budget = {{ windows = [{{ from = "20:00", to = "07:00", tz = "UTC", usd_per_hour = 4.0 }}] }}
controller = {{ where = "ssh:office" }}
engine = {{ extra_args = ["--x", 'say "é\\'] }}
[ssh.hosts.office]
address = "a"
gpu = "CPU"
gpu_count = 1
key = "{home / "id"}"
"""
    there = spec_there(parse_spec(text), "/there")
    found = parse_spec(there.text.decode())
    assert found.controller.where == "local"
    assert found.budget == parse_spec(text).budget
    assert found.engine.extra_args == ("--x", 'say "é\\')
    assert "attainment" not in tomllib.loads(there.text.decode()).get("slo", {})  # what was not said stays unsaid
    assert there.files[found.workload.trace].samefile(home / "trace.csv")
    assert there.files[found.ssh.hosts["office"].key].samefile(home / "id")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('workload = { trace = "none.csv" }', "none.csv.*expected a file that is there"),
        ('serve = { tls_cert = "a.pem", tls_key = "/k" }', "from that host's root"),
    ],
)
def test_files_that_can_not_be_meant_are_refused(text, why):
    with pytest.raises(SpecError, match=why):
        spec_there(parse_spec(text), "/there")


def test_only_credentials_that_are_needed_go_and_their_names_are_said():
    here = {"VAST_API_KEY": "v", "RUNPOD_API_KEY": "r", "HF_TOKEN": "h", "AWS_SESSION_TOKEN": "s", "OTHER_KEY": "o"}
    vast = parse_spec('markets = { providers = ["vast"] }')
    assert needed(vast, (), here) == {"VAST_API_KEY": "v", "HF_TOKEN": "h"}
    assert needed(vast, ("runpod",), here).keys() == {"VAST_API_KEY", "HF_TOKEN", "RUNPOD_API_KEY"}
    assert needed(vast, (), {"THUNDER_DATABASE_URL": "sqlite:////x"}) == {}
    assert needed(vast, (), {"THUNDER_DATABASE_URL": "postgresql://h/d"}).keys() == {"THUNDER_DATABASE_URL"}
    assert "HF_TOKEN, VAST_API_KEY; the deployment's" in said(needed(vast, (), here), "office")
    assert "AWS_SESSION_TOKEN expires" in said({"AWS_SESSION_TOKEN": "s", "AWS_ACCESS_KEY_ID": "a"}, "office")


def test_what_is_said_of_aws_is_said_where_aws_is_asked(home, monkeypatch):
    monkeypatch.setenv("HOME", str(home))
    (home / ".aws").mkdir()
    (home / ".aws" / "credentials").write_text("[default]\n")
    own = parse_spec('markets = { providers = ["ssh"] }')
    assert "~/.aws" not in said({}, "office", asked=asked_of(own, ()))
    assert "~/.aws/credentials stays here" in said({}, "office", asked=asked_of(own, ("aws",)))
    assert "~/.aws" not in said({"AWS_ACCESS_KEY_ID": "a"}, "office", asked={"aws"})


def test_a_profile_goes_by_its_name_unless_keys_go():
    aws = parse_spec('markets = { providers = ["aws"] }')
    assert needed(aws, (), {"AWS_PROFILE": "work"}) == {"AWS_PROFILE": "work"}
    assert "work: office has to have that profile" in said({"AWS_PROFILE": "work"}, "office", asked={"aws"})
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}
    assert needed(aws, (), {"AWS_PROFILE": "work", **keys}) == keys
    assert merged({"AWS_PROFILE": "work", "HF_TOKEN": "h"}, keys) == {"HF_TOKEN": "h", **keys}
    assert merged({"AWS_PROFILE": "work"}, {"HF_TOKEN": "h"}) == {"AWS_PROFILE": "work", "HF_TOKEN": "h"}


def test_what_was_sent_is_read_back_whatever_is_in_it():
    odd = {"A": 'it\'s; $(rm) `x`\n"two"', "B": "", "C": "a=b"}
    assert read_environment(environment_file(odd)) == odd


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"now": 1200.5}, "clock of office is 200 s ahead"),
        ({"now": 0.0}, "clock of office is 1000 s behind"),
        ({"writable": False}, "may not write to /b"),
        ({"disk_free_gb": 1.0}, "1.0 GB free at /b; expected 2"),
        ({"arch": "aarch64"}, "expected Linux on x86_64"),
    ],
)
def test_a_host_that_will_not_do_is_named_with_what_is_amiss(change, why):
    check(FACTS, OFFICE, now=1000.0)
    with pytest.raises(HostError, match=why):
        check(replace(FACTS, **change), OFFICE, now=1000.0)


def test_an_environment_that_is_there_needs_no_room_and_no_uv():
    check(replace(FACTS, disk_free_gb=0.5, arch="aarch64", given=True), OFFICE, now=1000.0)


def test_this_environment_has_all_that_the_lock_pins():
    assert len(PINNED.findall(lock_text("hosted.txt"))) > 50
    exec(proof())


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("up p.json --yes", ("default", "up", ("p.json", "--yes"))),
        ("--deployment a ssh i0 -- ls -h", ("a", "ssh", ("i0", "--", "ls", "-h"))),
        ("--deployment=a status", ("a", "status", ())),
        ("up --help", None),
        ("--version", None),
        ("", None),
        ("--deployment", None),
    ],
)
def test_a_command_line_is_taken_apart(line, found):
    typed = read_typed(line.split())
    assert (typed and (typed.deployment, typed.command, typed.words)) == found


def test_options_are_found_and_left_out():
    typed = read_typed(["up", "--spec", "s.toml", "--max-hours=2", "plan"])
    assert (typed.value("--spec"), typed.value("--max-hours"), typed.value("--x")) == ("s.toml", "2", None)
    assert typed.without("--spec", valued=True) == ("--max-hours=2", "plan")
    assert typed.without("--max-hours") == ("--spec", "s.toml", "plan")


def test_files_that_a_command_names_are_sent_and_called_as_they_are_there(home):
    (home / "plan.json").write_text("{}")
    asked = as_there("up", ("plan.json", "--max-hours", "2"), "/there")
    assert asked.words[0] == "up"
    assert asked.words[1].startswith("/there/files/")
    assert list(asked.files) == [asked.words[1]]
    assert as_there("rebalance", ("--links=plan.json",), "/there").words[1].startswith("--links=/there/files/")
    assert as_there("ssh", ("i0", "--", "cat", "plan.json"), "/there").words[-1] == "plan.json"


def test_a_note_is_read_back_and_one_that_can_not_be_read_is_not_guessed(home):
    away = Away(OFFICE, "default", "/f", "m1", Moving.THERE, "serving")
    write_away("default", away)
    assert read_away("default") == away
    (home / "home/deployments/default/away.json").write_text("{}")
    with pytest.raises(SpecError, match="says where deployment default lives") as raised:
        read_away("default")
    assert "remove it if the deployment lives on this machine" in raised.value.hint


@pytest.mark.usefixtures("home")
def test_a_note_that_may_not_be_read_is_not_to_be_removed(monkeypatch):
    write_away("default", Away(OFFICE, "default", "/f", "m1", Moving.THERE, "serving"))

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(SpecError, match=r"may not be read: Permission denied\.") as raised:
        read_away("default")
    assert "remove" not in raised.value.hint
    assert "as the user who owns it" in raised.value.hint


def test_a_command_that_is_carried_elsewhere_loads_no_more_than_carries_it(home):
    write_away("default", Away(OFFICE, "default", "/f", "m1", Moving.THERE, "serving"))
    ssh = home / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text("#!/bin/sh\nexit 3\n")
    ssh.chmod(0o755)
    code = (
        "import sys\n"
        "from thunderctl.cli.main import main\n"
        "try: main(['leases'])\n"
        "except SystemExit as ended: print(ended.code)\n"
        "print({'paramiko', 'sqlmodel', 'aiohttp'} & set(sys.modules))"
    )
    own = os.environ | {"PATH": f"{ssh.parent}:{os.environ['PATH']}"}
    done = subprocess.run([sys.executable, "-P", "-c", code], env=own, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["3", "set()"], done.stderr


def test_a_router_beside_a_controller_elsewhere_is_away_too():
    assert not router_is_away(Spec(), {})
    assert router_is_away(Spec(), {"THUNDER_LIVES_ON": "office"})
    assert router_is_away(parse_spec('controller = { where = "ssh:a" }'), {})
    assert router_is_away(parse_spec('serve = { place = "ssh:a" }'), {})
