"""`thunderctl events` and `thunderctl history` as a user meets them."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from planner.document import plan_to_json
from planner.errors import SpecError
from tests.planner.plans import split_plan
from thunderctl.cli import events as events_module
from thunderctl.cli.events import moment
from thunderctl.cli.main import main
from thunderctl.history import IN_FORCE
from thunderctl.store.store import Store
from thunderctl.store.values import Deployment, DeploymentState

NOW = 1_800_000_000.0
PLAN = split_plan()
FIRST = replace(PLAN, plan_id="first")
DEARER = replace(PLAN, plan_id="dearer", cost_usd_per_hour=4.5)
MENDED = replace(DEARER, plan_id="mended", amends="dearer")


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with Store() as opened:
        yield opened


def happen(store, at, kind, message="it did", **detail):
    store._now = lambda: at
    store.record("default", kind, message, **detail)


def run(capsys, *arguments, code=0):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    shown = capsys.readouterr()
    assert (ended.value.code or 0) == code, shown.err
    return shown


def events(capsys, *flags):
    document = json.loads(run(capsys, "events", "--json", *flags).out)
    assert document["schema"] == "thunder.events/v1"
    assert all(entry.keys() == {"id", "at", "kind", "message", "detail"} for entry in document["events"])
    return [entry["kind"] for entry in document["events"]]


@pytest.fixture
def happened(store):
    now = time.time()
    for hours, kind in ((50, "step.lease"), (3, "step.route"), (2, "controller.route"), (1, "stepping")):
        happen(store, now - 3600 * hours, kind)


@pytest.mark.usefixtures("happened")
def test_events_are_chosen_by_kind_time_and_number(capsys):
    assert events(capsys) == ["step.lease", "step.route", "controller.route", "stepping"]
    assert events(capsys, "--limit", "2") == ["controller.route", "stepping"]
    assert events(capsys, "--kind", "step") == ["step.lease", "step.route"]
    assert events(capsys, "--kind", "step", "--limit", "1") == ["step.route"]
    assert events(capsys, "--kind", "controller", "--kind", "stepping", "--since", "90m") == ["stepping"]
    assert events(capsys, "--since", "2d") == ["step.route", "controller.route", "stepping"]
    assert "controller.route" in run(capsys, "events").out


@pytest.mark.usefixtures("happened")
def test_a_kind_is_itself_and_what_is_below_it(store, capsys):
    happen(store, time.time(), "step")
    assert events(capsys, "--kind", "step") == ["step.lease", "step.route", "step"]


def test_a_moment_is_so_long_ago_or_a_time_of_day():
    assert moment("30m", NOW) == NOW - 1800
    assert moment("2w", NOW) == NOW - 14 * 86400
    assert moment("2027-01-15T08:00:00", NOW) == NOW
    assert moment("2027-01-15T09:00:00+01:00", NOW) == NOW
    for wrong in ("", "yesterday", "-3h", "9" * 30 + "w"):
        with pytest.raises(SpecError, match="--since is"):
            moment(wrong, NOW)


def test_however_much_happens_meanwhile_all_of_it_is_told_once(store, capsys, monkeypatch):
    monkeypatch.setattr(events_module, "AT_ONCE", 7)
    happen(store, NOW, "before", "before")
    looks = iter(range(6))

    def meanwhile(_):
        if (look := next(looks, None)) is None:
            raise KeyboardInterrupt
        for number in range(10 if look < 3 else 0):
            happen(store, NOW, "kind.of", f"{look}-{number}")
            store.record("other", "kind.of", "noise")

    monkeypatch.setattr(events_module.time, "sleep", meanwhile)
    shown = run(capsys, "events", "-f", "--kind", "kind", code=130).out
    assert [line.split()[-1] for line in shown.splitlines()] == [f"{a}-{b}" for a in range(3) for b in range(10)]


@pytest.mark.parametrize("as_json", [False, True])
def test_what_happens_is_shown_as_it_does_until_ctrl_c(store, as_json):
    happen(store, time.time(), "step.lease", "the first")
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "thunderctl", "events", "-f", "--kind", "step", *(["--json"] if as_json else [])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    assert process.stdout is not None
    seen = [process.stdout.readline()]
    store.record("default", "controller.route", "not asked for")
    store.record("default", "step.route", "the second")
    seen.append(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (130, "", "")
    if as_json:
        assert [json.loads(line)["message"] for line in seen] == ["the first", "the second"]
    else:
        assert [line.split("  ")[-1].strip() for line in seen] == ["the first", "the second"]


@pytest.fixture
def planned(store):
    """`first` gave way to `dearer`, of which a machine was replaced: `mended`. Then `first` was gone back to."""
    for at, plan in enumerate((FIRST, DEARER, MENDED)):
        store._now = lambda at=at: NOW + 100 * at
        store.save_plan(plan.plan_id, "default", plan_to_json(plan))
    for at, name, before in (
        (10, "first", ""),
        (110, "dearer", "first"),
        (210, "mended", "dearer"),
        (310, "first", "mended"),
    ):
        happen(store, NOW + at, IN_FORCE, plan_id=name, before=before)
    store.save_deployment(Deployment("default", DeploymentState.SERVING, plan_id="first"))


@pytest.mark.usefixtures("planned")
def test_history_says_when_each_plan_was_in_force_what_it_cost_and_which_it_took_over_from(capsys):
    document = json.loads(run(capsys, "history", "--json").out)
    assert document["schema"] == "thunder.history/v1"
    found = {entry["plan_id"]: entry for entry in document["plans"]}
    assert list(found) == ["mended", "dearer", "first"]
    assert [entry["in_force"] for entry in found.values()] == [False, False, True]
    assert found["first"]["created_at"] == "2027-01-15T08:00:00+00:00"
    assert found["first"]["in_force_since"] == "2027-01-15T08:05:10+00:00", "it was gone back to"
    assert (found["first"]["after"], found["dearer"]["after"], found["mended"]["after"]) == (
        "mended",
        "first",
        "dearer",
    )
    assert (found["mended"]["amends"], found["dearer"]["amends"]) == ("dearer", None)
    assert (found["dearer"]["cost_usd_per_hour"], found["first"]["goodput_rps"]) == (4.5, 3.0)
    assert found["first"]["replicas"][0] == {"id": "r0", "phase": "prefill"}


@pytest.mark.usefixtures("planned")
def test_history_is_a_table_for_people(capsys):
    shown = run(capsys, "history").out
    assert "1 prefill, 1" in shown
    first = next(line.split() for line in shown.splitlines() if line.startswith(" first"))
    assert first[:4] == ["first", "2027-01-15T08:00Z", "2027-01-15T08:05Z", "mended"]
    assert shown.count("in force") == 2, "one is the column's name"
    assert shown.count("machines") == 1


def test_a_plan_on_its_way_and_one_that_nobody_wrote_down(store, capsys):
    store.save_plan("old", "default", {"schema": "thunder.plan/v0", "replicas": []})
    store.save_deployment(Deployment("default", DeploymentState.STARTING, plan_id="old"))
    (entry,) = json.loads(run(capsys, "history", "--json").out)["plans"]
    assert (entry["state"], entry["in_force"], entry["in_force_since"]) == ("starting", False, None)
    assert (entry["goodput_rps"], entry["model"]) == (None, None)
    assert "starting" in run(capsys, "history").out


def test_before_there_is_any_plan_it_says_how_to_make_one(store, capsys):
    assert store.plans("default") == ()
    assert "thunderctl plan" in run(capsys, "history").err
