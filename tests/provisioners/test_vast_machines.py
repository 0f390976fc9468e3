"""What becomes known of a machine at Vast.ai, and how it is reached."""

import asyncio
from dataclasses import replace

import pytest

from planner.errors import HostError, ProvisioningError
from provisioners.base import Machine
from provisioners.ssh.rented import RentedHosts
from provisioners.vast.prices import price_rises
from provisioners.vast.terms import AGENT_PORT
from tests.provisioners.sshd import sshd
from tests.provisioners.vast_world import rented, rented_hosts, seen, vast_world

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
    ("spoilt", "ssh"),
    [
        ({"ports_after_s": 60.0}, "ssh4.vast.ai"),
        ({"ports_after_s": float("inf")}, "ssh4.vast.ai"),
        ({"unmapped": (AGENT_PORT,)}, "203.0.113.9"),
    ],
    ids=["not yet", "never", "only that of SSH"],
)
async def test_a_machine_that_runs_is_in_trouble_until_the_agents_port_is_mapped(world, spoilt, ssh):
    provisioner = world.provisioner()
    _, contract = await rented(world, provisioner)
    for name, value in spoilt.items():
        setattr(contract, name, value)
    found = await seen(provisioner)
    assert (found.state, found.trouble, found.problem) == ("running", f"its port {AGENT_PORT} is not mapped", "")
    assert found.ssh is not None
    assert found.ssh[0] == ssh
    world.clock.at += 61
    assert bool((await seen(provisioner)).trouble) is (spoilt != {"ports_after_s": 60.0})


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


@pytest.mark.parametrize("word", ["offline", "exited", "unknown"])
async def test_a_host_that_goes_away_is_in_trouble_and_of_no_use_once_it_stays_away(world, word):
    provisioner = world.provisioner(away_s=60.0)
    _, contract = await rented(world, provisioner)
    contract.state_word = word
    first = await seen(provisioner)
    assert (first.trouble.partition(":")[0], first.problem) == (word, "")
    world.clock.at += 50
    contract.state_word = ""
    back = await seen(provisioner)
    assert not back.trouble
    contract.state_word = word
    await seen(provisioner)
    world.clock.at += 61
    assert (await seen(provisioner)).problem == f"stuck: still {word} after 61 s"


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
    asked = len(world.market.asked)
    contract.announced_usd_per_hour = 1.1
    world.clock.at += 599
    assert await provisioner.price_rises() == (rise,)  # asked about often, and Vast seldom
    assert len(world.market.asked) == asked
    world.clock.at += 1
    assert [one.after_usd_per_hour for one in await provisioner.price_rises()] == [pytest.approx(1.1)]
    contract.gpus_usd_per_hour = 0.9
    assert (await seen(provisioner)).usd_per_hour > 0.9 > machine.usd_per_hour


@pytest.mark.parametrize(
    "body", [{}, [], {"pending_price_increases": [{}]}, {"pending_price_increases": [], "truncated": True}]
)
def test_price_rises_that_cannot_be_read_whole_are_an_error(body):
    with pytest.raises(ProvisioningError):
        price_rises(body)


async def test_through_the_proxy_our_key_is_let_in_first_and_asked_for_once(world, tmp_path):
    with sshd(tmp_path / "proxy") as server:
        hosts = RentedHosts("vast", tmp_path / "known_hosts", server.keys, KEY, user=server.address.user)
        provisioner = world.provisioner(hosts=hosts, folder=str(tmp_path))
        _, contract = await rented(world, provisioner)
        proxied = replace(await seen(provisioner), ssh=(server.host, server.port))
        for _ in range(2):
            assert (await provisioner.transport(proxied).run("echo in", timeout_s=10)).stdout == b"in\n"
        assert contract.ssh_keys == [KEY]
        straight = replace(proxied, address=server.host, provider_id="7")
        assert (await provisioner.transport(straight).run("echo in", timeout_s=10)).stdout == b"in\n"
        assert contract.ssh_keys == [KEY]
        provisioner.close()


async def test_of_a_machine_that_was_released_no_connection_is_kept(world, tmp_path):
    with sshd(tmp_path / "host") as server:
        hosts = RentedHosts("vast", tmp_path / "known_hosts", server.keys, KEY, user=server.address.user)
        provisioner = world.provisioner(hosts=hosts, folder=str(tmp_path))
        made, _ = await rented(world, provisioner)
        at = replace(await seen(provisioner), address=server.host, ssh=(server.host, server.port))
        assert (await provisioner.transport(at).run("true", timeout_s=10)).code == 0
        await provisioner.release(made.provider_id)
        async with asyncio.timeout(10):
            while server.process.children(recursive=True):
                await asyncio.sleep(0.02)


async def test_a_proxy_that_cannot_be_told_is_a_host_that_cannot_be_reached(world, tmp_path):
    provisioner = world.provisioner("nobody", hosts=rented_hosts(tmp_path / "known_hosts"))
    machine = Machine("7", "label", "running", 0.4, address="203.0.113.9", ssh=("127.0.0.1", 9))
    with pytest.raises(HostError, match=r"can't be told of our key: .*auth_error"):
        await provisioner.transport(machine).run("true", timeout_s=10)


async def test_the_transport_is_ssh_to_where_it_is_reached(world, tmp_path):
    provisioner = world.provisioner(hosts=rented_hosts(tmp_path / "known_hosts"))
    machine, _ = await rented(world, provisioner)
    with pytest.raises(HostError, match="can't be reached yet"):
        provisioner.transport(machine)
    assert provisioner.transport(await seen(provisioner)) is not None
    assert provisioner.folder(machine) == "/root/thunder/machine"
