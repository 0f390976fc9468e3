"""`thunderctl leases` and `thunderctl gc`."""

import asyncio
import csv
import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from provisioners.base import Label, LeaseRequest
from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.leases.transfers import TransferReading
from provisioners.local.offers import OFFER_ID
from provisioners.local.provisioner import LocalProvisioner
from provisioners.ssh.host import SshHost
from provisioners.ssh.login import SshAddress
from provisioners.ssh.memory import HostMemory
from tests.provisioners.fakes import GPU, SOMEBODY_ELSE
from thunderctl.cli.main import main
from thunderctl.deploying.strays import KEYS
from thunderctl.history import IN_FORCE
from thunderctl.home import local_folder, owner_id, thunder_home
from thunderctl.store.store import Store

STRAY = "0198c0de-0000-7000-8000-000000000000"
HOUR = 3600.0


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("THUNDER_LEASES_SETTLE_S", *(name for names in KEYS.values() for name in names)):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(capsys):
    def command(*arguments: str, code: int = 0):
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        assert ended.value.code == code, capsys.readouterr().err
        return capsys.readouterr()

    return command


def stray(owner: str = "") -> None:
    """A machine of the local provider, two minutes old, that no lease stands for."""
    local = LocalProvisioner(local_folder(), gpu=GPU, slots=4, now=lambda: time.time() - 120.0)
    asyncio.run(local.lease(LeaseRequest(Label(owner or owner_id(), "default", STRAY), OFFER_ID, 0.02)))


def leased(lease_id: str = "l0", hours: float = 2.0, **changes) -> LeaseRow:
    began = time.time() - hours * HOUR
    row = LeaseRow(
        lease_id, owner_id(), "default", "p", "i0", "local", "local", OFFER_ID, f"label {lease_id}", 1.0,
        LeaseState.GONE, began, began, ended_at=began + 1.5 * HOUR,
    )  # fmt: skip
    return replace(row, **changes)


def spent() -> None:
    """Two leases that have ended, one at two prices, and what was moved between them."""
    with Store() as store:
        first = leased()
        assert first.sent_at
        store.add_lease(first.repriced(1.0, first.sent_at).repriced(3.0, first.sent_at + HOUR))
        store.add_lease(leased("l1", instance="i1"))
        began = first.sent_at // HOUR * HOUR
        store.record_transfers(
            [
                TransferReading("default", "l0", "l1", 1.0, began, 5 * 10**9, Decimal("0.1")),
                TransferReading("default", "l1", "l0", 1.0, began, 10**9, None),
            ]
        )


def test_what_was_spent_is_the_sum_of_prices_and_times_and_of_transfers(run):
    spent()
    found = json.loads(run("leases", "--all", "--json").out)
    assert (found["machines_usd"], found["transfer_usd"], found["unpriced_transfer_gb"]) == (4.0, 0.5, 1.0)
    assert found["spent_usd"] == 4.5
    assert found["usd_per_hour"] == 0
    assert sum(hour["machines_usd"] + hour["transfer_usd"] for hour in found["hours"]) == pytest.approx(4.5)
    [first, _] = found["leases"]
    assert [price["usd_per_hour"] for price in first["prices"]] == [1.0, 3.0]


def test_the_exported_lines_add_up_to_what_was_spent(run, tmp_path):
    spent()
    run("leases", "--csv", "spend.csv")
    with (tmp_path / "spend.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert sum(Decimal(line["usd"]) for line in lines) == pytest.approx(Decimal("4.5"), abs=Decimal("1e-5"))
    assert {line["kind"] for line in lines} == {"machine", "transfer"}
    assert [line["lease"] for line in lines if line["priced"] == "no"] == ["l1"]


def test_the_report_shows_days_leases_models_and_ways(run):
    spent()
    shown = run("leases", "--report")
    titles = ("Spend by day (UTC)", "Spend by lease (UTC)", "Spend by model (UTC): $4.5000", "Transfers")
    for title in (*titles, "1.0000 → 3.0000", "price not known", "(no plan)"):
        assert title in shown.out
    assert "1.000 GB went over ways whose price is not known" in shown.err


def served(at: float, plan_id: str, model: str) -> None:
    """A plan with the machine of the first lease came into force."""
    with Store() as store:
        document = {"model": {"name": model}, "instances": [{"id": "i0", "offer_id": OFFER_ID}]}
        store.save_plan(plan_id, "default", document)
        store._now = lambda: at
        store.record("default", IN_FORCE, "it is in force", plan_id=plan_id)


def report_of(run, *arguments: str) -> dict:
    return json.loads(run("leases", "--report", "--json", *arguments).out)["report"]


def test_what_a_lease_served_is_what_it_cost(run):
    spent()
    began = leased().sent_at
    assert began
    served(began, "p", "tiny")
    served(began + HOUR, "q", "large")
    report = report_of(run, "--by", "model")
    assert report["usd"] == pytest.approx(4.5, abs=1e-6)
    [table] = report["tables"]
    usd = {one["model"]: one["machines_usd"] for one in table["sums"]}
    assert usd == {"large": pytest.approx(1.5, abs=0.01), "tiny": pytest.approx(2.5, abs=0.01)}


def test_days_are_those_of_the_clock_that_was_named(run):
    with Store() as store:
        began = datetime(2027, 3, 27, 22, 30, tzinfo=UTC).timestamp()
        store.add_lease(leased(created_at=began, sent_at=began, ended_at=began + 3 * HOUR))
    days = {
        one["day"]: one["usd"] for one in report_of(run, "--by", "day", "--tz", "Europe/Berlin")["tables"][0]["sums"]
    }
    assert days == {"2027-03-27": 0.5, "2027-03-28": 2.5}
    days = {one["day"]: one["usd"] for one in report_of(run, "--by", "day")["tables"][0]["sums"]}
    assert days == {"2027-03-27": 1.5, "2027-03-28": 1.5}
    only = report_of(run, "--tz", "Europe/Berlin", "--since", "2027-03-28", "--until", "2027-03-28T01:00")
    assert (only["usd"], only["hours"], only["since"]) == (1.0, 1.0, "2027-03-28T00:00:00+01:00")


def test_sums_are_exported_where_they_are_asked_for(run, tmp_path):
    spent()
    run("leases", "--csv", "spend.csv", "--by", "model", "--by", "lease")
    with (tmp_path / "spend.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["lease"] for line in lines] == ["l0", "l1"]
    assert [Decimal(line["transfer_usd"]) for line in lines] == [Decimal("0.5"), 0]
    assert sum(Decimal(line["usd"]) for line in lines) == Decimal("4.5")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--tz", "Berlin"), "--tz is 'Berlin'; expected a time zone"),
        (("--until", "soon"), "--until is 'soon'; expected"),
        (("--since", "2027-02-01", "--until", "2027-01-01"), "is not before --until"),
    ],
)
def test_a_report_of_no_time_is_refused(run, arguments, why):
    assert why in run("leases", *arguments, code=2).err


def test_a_lease_near_its_end_is_warned_of(run):
    with Store() as store:
        store.add_lease(
            leased(state=LeaseState.READY, ended_at=None, expires_at=time.time() + 1800.0, provider="local")
        )
    assert "soon: The lease of i0 ends at" in run("leases").err
    [warning] = json.loads(run("leases", "--json").out)["warnings"]
    assert "[budget] max_hours" in warning


def test_what_could_not_be_looked_at_is_said(run, monkeypatch):
    monkeypatch.setenv("VAST_API_KEY", "key")
    monkeypatch.setenv("VAST_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("provisioners.vast.client.READ_AGAIN_AFTER_S", ())
    assert "not looked at: vast: " in run("leases").err
    sources = {one["provider"]: one["ok"] for one in json.loads(run("leases", "--json").out)["sources"]}
    assert sources == {"local": True, "ssh": True, "vast": False}
    document = json.loads(run("gc", "--json", code=5).out)
    assert document["error"]["kind"] == "Incomplete"
    assert "vast: " in document["error"]["message"]


def test_with_a_store_that_is_lost_the_hosts_of_the_specs_file_are_looked_at(run, tmp_path, monkeypatch):
    asked = []

    async def look(world):
        asked.append(sorted((world.written or world.spec()).ssh.hosts))
        return ()

    monkeypatch.setattr("thunderctl.deploying.strays.look_around", look)
    host = '[ssh.hosts.tower]\naddress = "nobody@127.0.0.1:1"\ngpu = "CPU"\ngpu_count = 1\nusd_per_hour = 0.0\n'
    (tmp_path / "thunder.toml").write_text(host)
    run("leases")
    with Store() as store:
        store.save_deployment(replace(store.deployment("default"), spec={"markets": {"providers": ["local"]}}))
    run("leases")
    assert asked == [["tower"], []]


def test_a_specs_file_that_is_wrong_hides_no_lease(run, tmp_path):
    (tmp_path / "thunder.toml").write_text("markets = 1\n")
    shown = run("leases").err
    assert "that thunder.toml names are not looked at: " in shown
    assert "Nothing is leased" in shown


def test_a_lease_is_written_off_on_the_users_word_alone(run, monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "ann")
    with Store() as store:
        store.add_lease(
            leased(state=LeaseState.READY, ended_at=None, provider="runpod", provider_id="pod1", account="key old")
        )
    assert "may still run and bill" not in run("leases", "--forget", "l0", code=4).err.partition("This needs")[2]
    run("leases", "--forget", "l1", "--yes", code=2)
    assert "runpod pod1 (i0, ready, $1/h) may still run and bill" in run("leases", "--forget", "l0", "--yes").err
    with Store() as store:
        [row] = store.leases()
    assert (row.state, row.reason) == (LeaseState.GONE, "forgotten by ann")
    run("leases", "--forget", "l0", "--yes", code=4)


def test_a_host_that_is_gone_for_good_is_looked_for_no_more_once_its_lease_is_written_off(run):
    host = SshHost(name="tower", address=SshAddress("nobody", "127.0.0.1", 1), gpu="L40S", gpu_count=1)
    memory = HostMemory(thunder_home() / "ssh" / "leases")
    memory.remember("l0", host)
    with Store() as store:
        store.add_lease(leased(state=LeaseState.READY, ended_at=None, provider="ssh", provider_id=f"{host.address}/l0"))
    run("leases", "--forget", "l0", "--yes")
    assert memory.hosts() == {}


# gc


def strays(run, *arguments: str, code: int = 0):
    found = json.loads(run("gc", "--json", *arguments, code=code).out)
    return [(one["provider_id"], one["action"]) for one in found.get("strays", ())]


def test_a_stray_is_reported_and_released_only_when_asked(run):
    stray()
    assert strays(run) == [(STRAY, "reported")]
    assert strays(run, "--delete", code=4) == []  # nobody can be asked
    assert strays(run) == [(STRAY, "reported")]
    assert strays(run, "--delete", "--yes") == [(STRAY, "released")]
    assert strays(run) == []


def test_another_owners_machines_are_found_by_their_id_alone(run):
    stray(SOMEBODY_ELSE)
    assert strays(run) == []
    assert strays(run, "--all") == [(STRAY, "reported")]
    assert strays(run, "--owner", SOMEBODY_ELSE, "--delete", "--yes") == [(STRAY, "released")]


def test_everybodys_machines_are_never_released(run):
    stray(SOMEBODY_ELSE)
    shown = run("gc", "--all", "--delete", "--json", code=2)
    assert "--all only reports" in json.loads(shown.out)["error"]["message"]
    assert strays(run, "--all") == [(STRAY, "reported")]
