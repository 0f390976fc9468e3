"""Real processes on a fake market: while one waits for a machine to boot, the controller and `down` act as ever."""

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from planner.document import plan_to_json
from provisioners.leases.acquire import Intent, acquire
from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.pacer import Pacer
from provisioners.vast.client import Paces, VastClient
from provisioners.vast.provisioner import VastProvisioner
from provisioners.vast.terms import Terms
from tests.operating import Operator, until
from tests.provisioners.vast_market import OWNER_KEY, VastMarket
from tests.provisioners.vast_server import serving
from tests.provisioners.vast_world import DEADMAN, ONSTART, rented_hosts
from tests.thunderctl.rented_world import cards, plan_on
from thunderctl.home import owner_id
from thunderctl.store.store import Store
from thunderctl.store.values import Deployment, DeploymentState

SPEC = {
    "model": {"name": "tiny-llama"},
    "leases": {"settle_s": 0, "poll_s": 0.2},
    "markets": {"providers": ["vast"]},
}
LEFT_S = 1.0
"""Of the lease that ends meanwhile."""


@pytest.fixture
def market():
    """Its machines never boot."""
    return VastMarket(time.monotonic, cards(5), boot_s=100_000.0)


@pytest.fixture
def operator(tmp_path, market):
    with serving(market) as url:
        user = Operator(tmp_path, state="home", VAST_URL=url, VAST_API_KEY=OWNER_KEY)
        with patch.dict(os.environ, user.environment):
            yield user
        user.end_all()


async def rent(store: Store, market: VastMarket, folder: Path) -> None:
    """Three machines that serve, as far as the store knows."""
    pace, url = Pacer(0.0), os.environ["VAST_URL"]
    client = VastClient(OWNER_KEY, url=url, paces=Paces(pace, pace, pace))
    vast = VastProvisioner(client, Terms(ONSTART, DEADMAN, rented_hosts(folder / "known_hosts"), url=url))
    plan = plan_on(await vast.offers(), 3, slack=2.0, model="tiny-llama")
    store.save_plan(plan.plan_id, "default", plan_to_json(plan))
    store.save_deployment(
        Deployment("default", DeploymentState.SERVING, 1, plan.plan_id, "", plan.budget_usd_per_hour, SPEC)
    )
    for one in plan.instances:
        intent = Intent(owner_id(), "default", plan.plan_id, one, time.time() + 7200)
        market._calls.clear()  # no time passes here
        row = await acquire(store, vast, intent, budget_usd_per_hour=plan.budget_usd_per_hour)
        store.update_lease(row.moved(LeaseState.READY), was=row.state)


def last(store: Store, instance: str) -> LeaseRow:
    return [row for row in store.leases("default") if row.instance == instance][-1]


@pytest.mark.timeout(400)
def test_while_one_machine_boots_another_ones_lease_ends_and_down_takes_all(operator, market):
    """i0 failed again and again and waits, i1 was lost and boots anew, the lease of i2 ends."""
    with Store() as store:
        asyncio.run(rent(store, market, operator.home))
        for name in ("i0", "i1"):
            row = last(store, name)
            market.contracts.pop(int(row.provider_id))
            store.update_lease(row.moved(LeaseState.GONE, reason="outbid", ended_at=time.time()), was=row.state)
        at_work = operator.start("up", "--yes", "--replacing", "--only", "i1")
        until(lambda: last(store, "i1").state is LeaseState.CREATED)
        ends = last(store, "i2")
        store.update_lease(replace(ends, expires_at=time.time() + LEFT_S), was=ends.state)
        until(lambda: last(store, "i2").state is LeaseState.GONE)
        assert at_work.poll() is None
        assert last(store, "i1").state is LeaseState.CREATED
        assert last(store, "i0").state is LeaseState.GONE

        assert "told to stop that" in said(operator.start("down", "--yes"))
        at_work.communicate(timeout=120)
        assert at_work.returncode != 0
        assert market.contracts == {}
        assert not [row for row in store.leases("default") if row.state.may_cost]
        assert [row.instance for row in store.leases("default")].count("i0") == 1


def said(process) -> str:
    _, narrated = process.communicate(timeout=120)
    assert process.returncode == 0, narrated
    return narrated
