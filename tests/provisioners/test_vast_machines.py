"""What becomes known of a machine at Vast.ai, how it is reached, and how it ends itself."""

import os
import subprocess
from pathlib import Path

import pytest

from planner.errors import HostError, ProvisioningError
from provisioners.rendering import rendered
from provisioners.vast.prices import price_rises
from provisioners.vast.provisioner import AGENT_PORT, FOLDER, Access
from tests.provisioners.vast_market import bundle
from tests.provisioners.vast_world import ONSTART, rented, seen, vast_world

KEY = "ssh-ed25519 AAAAC3Nz thunder's own"


@pytest.fixture
def world():
    with vast_world() as made:
        yield made


async def test_where_it_is_reached_is_known_once_it_has_booted(world):
    world.market.boot_s = 300.0
    provisioner = world.provisioner()
    await rented(world, provisioner)
    early = await seen(provisioner)
    assert (early.state, early.address, dict(early.ports)) == ("provisioning", "", {})
    assert early.ssh is not None
    assert early.ssh[0] == "ssh4.vast.ai"  # the proxy, until the way is straight
    world.clock.at += 300
    booted = await seen(provisioner)
    assert (booted.state, booted.address, dict(booted.ports)) == (
        "running",
        "203.0.113.9",
        {22: 40000, AGENT_PORT: 40001},
    )
    assert booted.ssh == ("203.0.113.9", 40000)


@pytest.mark.parametrize(
    ("spoilt", "problem"),
    [
        ({"broken": True}, "OCI runtime create failed"),
        ({"stopped": True}, "stopped"),
        ({"state_word": "hibernating"}, ""),
        ({"state_word": "offline"}, ""),
    ],
)
async def test_only_what_is_known_to_be_final_is_a_problem(world, spoilt, problem):
    provisioner = world.provisioner()
    _, contract = await rented(world, provisioner)
    for name, value in spoilt.items():
        setattr(contract, name, value)
    found = (await seen(provisioner)).problem
    assert problem in found
    assert bool(found) is bool(problem)


@pytest.mark.parametrize("skew_s", [0.0, 3600.0, -3600.0])
async def test_a_machine_that_does_not_boot_in_time_is_stuck_whatever_its_own_clock_says(world, skew_s):
    world.market.boot_s = 300.0
    provisioner = world.provisioner(boot_s=600.0)
    _, contract = await rented(world, provisioner)
    contract.stuck = True
    contract.start_skew_s = skew_s
    world.clock.at += 600
    assert not (await seen(provisioner)).problem
    world.clock.at += 1
    assert (await seen(provisioner)).problem == "stuck: still loading after 601 s"
    contract.stuck = False
    assert not (await seen(provisioner)).problem


async def test_the_live_price_is_listed_and_what_is_announced_can_be_asked_for(world):
    provisioner = world.provisioner()
    machine, contract = await rented(world, provisioner)
    contract.announced_usd_per_hour = 0.9
    [rise] = await provisioner.price_rises()
    assert (rise.provider_id, rise.before_usd_per_hour, rise.after_usd_per_hour) == (
        machine.provider_id,
        pytest.approx(0.4),
        pytest.approx(0.9),
    )
    contract.gpus_usd_per_hour = 0.9
    assert (await seen(provisioner)).usd_per_hour > 0.9 > machine.usd_per_hour


@pytest.mark.parametrize(
    "body", [{}, [], {"pending_price_increases": [{}]}, {"pending_price_increases": [], "truncated": True}]
)
def test_price_rises_that_cannot_be_read_whole_are_an_error(body):
    with pytest.raises(ProvisioningError):
        price_rises(body)


async def test_the_proxy_lets_our_key_in_when_told(world):
    provisioner = world.provisioner(access=Access(Path("known"), public_key=KEY))
    machine, contract = await rented(world, provisioner)
    await provisioner.admit(machine.provider_id)
    assert contract.ssh_keys == [KEY]


async def test_the_transport_is_ssh_to_where_it_is_reached(world, tmp_path):
    provisioner = world.provisioner(access=Access(tmp_path / "known_hosts"))
    machine, _ = await rented(world, provisioner)
    with pytest.raises(HostError, match="not known yet"):
        provisioner.transport(machine)
    assert provisioner.transport(await seen(provisioner)) is not None
    assert provisioner.folder(machine) == FOLDER


def test_nobody_renews_the_lease_and_the_machine_ends_itself(world, tmp_path):
    """The script as a container runs it, with a `sleep` that takes no time and renews ten times."""
    ours = world.market.rent(bundle(11), {"disk": 10, "label": "ours", "env": {}})
    other = world.market.put_foreign()
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "sleep").write_text(
        f"#!/bin/sh\necho look >>{tmp_path}/looks\nn=$(wc -l <{tmp_path}/looks)\n"
        f"[ $n -le 10 ] && touch -d @$n {tmp_path}/thunder/run/renewed\n[ $n -le 30 ]\n"
    )
    (tools / "setsid").write_text('#!/bin/sh\nshift\nexec "$@"\n')  # so that the test can wait for it
    for tool in tools.iterdir():
        tool.chmod(0o755)
    script = rendered(
        ONSTART, folder=tmp_path / "thunder", public_key=KEY, deadman_s=300, look_s=60, url=world.url
    ).replace("2>&1 &", "2>&1")
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "CONTAINER_ID": str(ours.contract_id),
        "CONTAINER_API_KEY": ours.key,
    }
    subprocess.run(["/bin/sh", "-c", script], env=environment, check=False, timeout=60)
    assert list(world.market.contracts) == [other]
    assert len(world.market.asked) == 16  # five looks after the tenth, and each one after that tries again
    assert (tmp_path / ".ssh" / "authorized_keys").read_text().strip() == KEY
