"""A spec that another version wrote: what is read of it, and that machines are released whatever it says."""

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from provisioners.leases.journal import LeaseRow, LeaseState
from thunderctl.cli.main import app
from thunderctl.spec.spec import Spec
from thunderctl.spec.stored_spec import read_stored
from thunderctl.store.store import Store
from thunderctl.store.values import Deployment, DeploymentState

MACHINE = "01a3f0e8-5c11-7000-8000-000000000001"
WINDOW = {"from": "20:00", "to": "08:00", "tz": "UTC", "usd_per_hour": 2.0}


@pytest.mark.parametrize(
    ("written", "left", "named"),
    [
        ({"leases": {"settle_s": 5}}, {"leases": {"settle_s": 5}}, ()),
        ({"leases": {"grace_s": 5, "settle_s": 5}}, {"leases": {"settle_s": 5}}, ("leases.grace_s",)),
        ({"web": {"port": 1}, "budget": {"max_total_usd": 9}}, {"budget": {"max_total_usd": 9}}, ("web",)),
        (
            {"budget": {"max_total_usd": "much", "max_hours": 3}},
            {"budget": {"max_hours": 3}},
            ("budget.max_total_usd",),
        ),
        (
            {"budget": {"windows": [WINDOW | {"days": "all"}, WINDOW | {"to": "20:00"}, WINDOW]}},
            {"budget": {"windows": [WINDOW, WINDOW]}},
            ("budget.windows.0.days", "budget.windows.1"),
        ),
        ({"leases": {"ready_deadline_s": 9000}}, {}, ("leases",)),
        ({"markets": {"providers": ["vast", "moon"]}}, {"markets": {"providers": ["vast"]}}, ("markets.providers.1",)),
        ({"budget": "14 $"}, {}, ("budget",)),
    ],
)
def test_what_this_version_can_not_read_is_left_out_and_named(written, left, named):
    found, left_out = read_stored(written)
    assert found == Spec.model_validate(left)
    assert sorted(left_out) == sorted(named)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with Store() as store:
        unread = {"leases": {"grace_s": 5, "settle_s": 0}, "web": {"port": 1}}
        store.save_deployment(Deployment("default", DeploymentState.SERVING, 1, "", "", 5.0, unread))
        label, ready = "thunder:me:default:l0", LeaseState.READY
        row = LeaseRow("l0", "me", "default", "p", "i0", "local", "x", "offer", label, 1.0, ready, 1.0, 1.0)
        store.add_lease(replace(row, provider_id=MACHINE))
        yield store


@pytest.mark.parametrize("command", [("leases",), ("status",), ("gc",), ("down", "--yes")])
def test_no_command_depends_on_it(home, command):
    done = CliRunner().invoke(app, command)
    assert done.exit_code in (0, 5), (done.output, done.exception)
    if command[0] == "down":
        assert home.leases("default")[0].state is LeaseState.GONE
