"""A small `thunderctl`: `crash_driver.py up|boot|down` on the store of THUNDER_HOME, and on the machines that are there
or, where VAST_URL, RUNPOD_URL or AWS_ENDPOINT_URL names one, at a Vast.ai, a RunPod or an AWS, or on the hosts that
SSH_HOSTS lists.

Started by test_crash_points.py in a process of its own, with THUNDER_CRASH_AT set.
"""

import asyncio
import json
import os
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from provisioners.base import Provisioner
from provisioners.bootstrap import prepare
from provisioners.leases.acquire import Intent, acquire
from provisioners.leases.journal import LeaseState
from provisioners.leases.observe import Pace, matched
from provisioners.leases.release import release, resume
from provisioners.local.provisioner import LocalProvisioner
from provisioners.pacer import Pacer
from provisioners.runpod.client import RunPodClient
from provisioners.runpod.provisioner import RunPodProvisioner
from provisioners.ssh.host import SshHost
from provisioners.ssh.rented import RentedHosts
from provisioners.vast.client import Paces, VastClient
from provisioners.vast.provisioner import VastProvisioner
from provisioners.vast.terms import Terms
from tests.provisioners.fakes import GPU, FakeClock, instance
from tests.provisioners.host_worlds import with_stand_ins
from tests.provisioners.sshd import ssh_provisioner
from thunderctl.home import local_folder, owner_id, thunder_home
from thunderctl.store.store import Store

PACE = Pace(settle_s=0.0, poll_s=0.05, patience_s=20.0)
BUDGET = 0.04


def provisioner() -> Provisioner:
    if hosts := os.environ.get("SSH_HOSTS"):
        return ssh_provisioner([SshHost.from_json(host) for host in json.loads(hosts)], thunder_home() / "ssh")
    if url := os.environ.get("RUNPOD_URL"):
        client_there = RunPodClient(os.environ["RUNPOD_API_KEY"], url=url, pacer=Pacer(0.0))
        hosts_there = RentedHosts("runpod", Path("known_hosts"))
        return RunPodProvisioner(client_there, hosts_there, "{}".format, disk_gb=1.0, boot_s=60.0, clock=time.monotonic)
    if os.environ.get("AWS_ENDPOINT_URL"):
        return aws_provisioner()
    if not (url := os.environ.get("VAST_URL")):
        return LocalProvisioner(local_folder(), gpu=GPU, slots=4, grace_s=1.0)
    paces = Paces(Pacer(0.0), Pacer(0.0), Pacer(0.0))  # such as the fake's owner has
    client = VastClient(os.environ["VAST_API_KEY"], url=url, paces=paces)
    return VastProvisioner(client, Terms("true", "true", RentedHosts("vast", Path("known_hosts"))))


@cache
def aws_provisioner() -> Provisioner:
    """Made once a process, as the SDK's clients take long. Moto runs in the test's process, and is not loaded here."""
    from tests.provisioners.aws_cloud import AwsCloud
    from tests.provisioners.aws_world import AwsWorld

    class Elsewhere(AwsCloud):
        def instances(self, region: str = "us-east-1") -> list[Any]:
            return []

    clock = FakeClock()
    cloud = Elsewhere(clock, spot_usd={"g5.xlarge": 0.004})  # disk and address cost three times as much
    return AwsWorld(cloud, clock, thunder_home(), quick=True).provisioner(disk_gb=1.0)


async def up(store: Store) -> None:
    """Lease i0 and i1 unless they are there already."""
    seller = provisioner()
    await resume(store, seller, owner_id=owner_id(), deployment="d", pace=PACE)
    running = {row.instance for row in store.leases("d") if row.state.runs}
    for name in ("i0", "i1"):
        if name not in running:
            wanted = instance(name, seller.provider, await first_offer(seller), 0.02)
            asked = Intent(owner_id(), "d", "plan", replace(wanted, interruptible=seller.provider == "aws"))
            await acquire(store, seller, asked, budget_usd_per_hour=BUDGET)


async def first_offer(seller: Provisioner) -> str:
    named = {"local": "local-slot", "aws": "aws:us-east-1:us-east-1b:g5.xlarge:spot"}
    return named.get(seller.provider) or (await seller.offers())[0].offer_id


async def boot(store: Store) -> None:
    """Prepare machines of this host that are not yet, with ENGINE_PYTHON and a stand-in for our agent."""
    seller = provisioner()
    machines = matched((await seller.observe()).machines, store.leases("d"))
    for row in store.leases("d"):
        if row.state is LeaseState.CREATED:
            machine = machines[row.lease_id]
            wanted = with_stand_ins(seller.folder(machine), os.environ["ENGINE_PYTHON"], thunder_home() / "model")
            await prepare(seller.transport(machine), wanted)
            store.update_lease(row.moved(LeaseState.READY), was=LeaseState.CREATED)


async def down(store: Store) -> None:
    await release(store, provisioner(), owner_id=owner_id(), deployment="d", reason="down", pace=PACE)


if __name__ == "__main__":
    with Store() as opened, opened.lock("d", sys.argv[1]):
        asyncio.run({"up": up, "boot": boot, "down": down}[sys.argv[1]](opened))
