"""A container of Vast.ai from the lease to its end, by real SSH at its outer port, with its own script at work."""

import asyncio
import tempfile
import time
from pathlib import Path

import pytest

from planner.errors import HostError
from tests.provisioners.networks import Unavailable
from tests.provisioners.vast_containers import namespace_containers
from tests.provisioners.vast_market import OWNER_KEY, VastMarket, bundle
from tests.provisioners.vast_server import serving
from tests.provisioners.vast_world import request
from thunderctl.keys.machine_key import machine_key
from thunderctl.markets.vast import vast_provisioner

BOOT_S = 30.0


@pytest.fixture
def market(monkeypatch):
    """Room for two containers, on an account that the environment names."""
    with tempfile.TemporaryDirectory(prefix="vast.") as folder:
        monkeypatch.setenv("THUNDER_HOME", f"{folder}/home")
        monkeypatch.setenv("VAST_API_KEY", OWNER_KEY)
        try:
            with namespace_containers(Path(folder), 2) as containers:
                made = VastMarket(time.monotonic, [bundle(11), bundle(12)], limited=False, containers=containers)
                with serving(made, containers.shared) as url:
                    monkeypatch.setenv("VAST_URL", url)
                    yield made
        except Unavailable as error:
            pytest.skip(f"no containers here: {error}")


async def booted(provisioner, machine):
    """As it is listed once it has an address."""
    async with asyncio.timeout(BOOT_S):
        while True:
            listed = {one.provider_id: one for one in (await provisioner.observe()).machines}[machine.provider_id]
            if listed.address:
                return listed
            await asyncio.sleep(0.05)


async def test_a_machine_lets_our_key_in_guards_itself_and_is_gone_once_it_is_released(market):
    provisioner = vast_provisioner()
    on_demand = [offer for offer in await provisioner.offers() if not offer.interruptible]
    asked = [await provisioner.lease(request(offer)) for offer in on_demand]
    one, other = [await booted(provisioner, machine) for machine in asked]
    assert one.address == other.address  # shared, so their ports differ
    assert not set(one.ports.values()) & set(other.ports.values())

    transport = provisioner.transport(one)
    folder = provisioner.folder(one)
    said = await transport.run("pwd; ls run; cat ~/.ssh/authorized_keys; ps -ef", timeout_s=20)
    text = said.stdout.decode()
    assert text.startswith(folder)
    assert {"deadman.sh", "end_machine.sh", "deadman.lock"} <= set(text.split())
    assert machine_key().public in text
    assert "sh run/deadman.sh" in text
    await transport.put("proof", b"mine", 0o600)
    assert not (await provisioner.transport(other).run("ls proof", timeout_s=20)).stdout  # each has its own files

    await provisioner.release(one.provider_id)
    [left] = (await provisioner.observe()).machines
    assert left.provider_id == other.provider_id
    with pytest.raises(HostError):
        await transport.run("true", timeout_s=5)

    own_key = market.contracts[int(other.provider_id)].key
    known = f"CONTAINER_ID={other.provider_id} CONTAINER_API_KEY={own_key}"  # its switch has them from Vast
    ended = await provisioner.transport(other).run(f"{known} setsid sh run/end_machine.sh &", timeout_s=20)
    assert ended.code == 0
    async with asyncio.timeout(BOOT_S):
        while market.contracts:
            await asyncio.sleep(0.05)
    provisioner.close()
