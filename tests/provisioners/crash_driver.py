"""A small `thunderctl`: `crash_driver.py up|down` on the store and the local machines of THUNDER_HOME.

Started by test_crash_points.py in a process of its own, with THUNDER_CRASH_AT set.
"""

import asyncio
import sys

from provisioners.leases.acquire import Intent, acquire
from provisioners.leases.observe import Pace
from provisioners.leases.release import release, resume
from provisioners.local.provisioner import LocalProvisioner
from tests.provisioners.fakes import GPU, instance
from thunderctl.home import local_folder, owner_id
from thunderctl.store.store import Store

PACE = Pace(settle_s=0.0, poll_s=0.05, patience_s=20.0)
BUDGET = 0.04


def provisioner() -> LocalProvisioner:
    return LocalProvisioner(local_folder(), gpu=GPU, slots=4, grace_s=1.0)


async def up(store: Store) -> None:
    """Lease i0 and i1 unless they are there already."""
    local = provisioner()
    await resume(store, local, owner_id=owner_id(), deployment="d", pace=PACE)
    running = {row.instance for row in store.leases("d") if row.state.runs}
    for name in ("i0", "i1"):
        if name not in running:
            wanted = Intent(owner_id(), "d", "plan", instance(name, "local", "local-slot", 0.02))
            await acquire(store, local, wanted, budget_usd_per_hour=BUDGET)


async def down(store: Store) -> None:
    await release(store, provisioner(), owner_id=owner_id(), deployment="d", reason="down", pace=PACE)


if __name__ == "__main__":
    with Store() as opened, opened.lock("d", sys.argv[1]):
        asyncio.run({"up": up, "down": down}[sys.argv[1]](opened))
