"""A small `thunderctl`: `crash_driver.py up|down` on the store of THUNDER_HOME, and on the machines that are there or,
where VAST_URL names one, at a Vast.ai, and on the hosts that SSH_HOSTS lists.

Started by test_crash_points.py in a process of its own, with THUNDER_CRASH_AT set.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from provisioners.base import Provisioner
from provisioners.leases.acquire import Intent, acquire
from provisioners.leases.observe import Pace
from provisioners.leases.release import release, resume
from provisioners.local.provisioner import LocalProvisioner
from provisioners.ssh.host import SshHost
from provisioners.vast.client import Paces, VastClient
from provisioners.vast.pacer import Pacer
from provisioners.vast.provisioner import Access, Terms, VastProvisioner
from tests.provisioners.fakes import GPU, instance
from tests.provisioners.sshd import ssh_provisioner
from thunderctl.home import local_folder, owner_id, thunder_home
from thunderctl.store.store import Store

PACE = Pace(settle_s=0.0, poll_s=0.05, patience_s=20.0)
BUDGET = 0.04


def provisioner() -> Provisioner:
    if hosts := os.environ.get("SSH_HOSTS"):
        return ssh_provisioner([SshHost.from_json(host) for host in json.loads(hosts)], thunder_home() / "ssh")
    if not (url := os.environ.get("VAST_URL")):
        return LocalProvisioner(local_folder(), gpu=GPU, slots=4, grace_s=1.0)
    paces = Paces(Pacer(0.0), Pacer(0.0), Pacer(0.0))  # such as the fake's owner has
    client = VastClient(os.environ["VAST_API_KEY"], url=url, paces=paces)
    return VastProvisioner(client, Terms("true", Access(Path("known_hosts"))))


async def up(store: Store) -> None:
    """Lease i0 and i1 unless they are there already."""
    seller = provisioner()
    await resume(store, seller, owner_id=owner_id(), deployment="d", pace=PACE)
    running = {row.instance for row in store.leases("d") if row.state.runs}
    for name in ("i0", "i1"):
        if name not in running:
            offer_id = "local-slot" if seller.provider == "local" else (await seller.offers())[0].offer_id
            wanted = Intent(owner_id(), "d", "plan", instance(name, seller.provider, offer_id, 0.02))
            await acquire(store, seller, wanted, budget_usd_per_hour=BUDGET)


async def down(store: Store) -> None:
    await release(store, provisioner(), owner_id=owner_id(), deployment="d", reason="down", pace=PACE)


if __name__ == "__main__":
    with Store() as opened, opened.lock("d", sys.argv[1]):
        asyncio.run({"up": up, "down": down}[sys.argv[1]](opened))
