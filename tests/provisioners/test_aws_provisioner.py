"""Renting from AWS: what a machine is from its first second on, who gets to it, and where it is looked for."""

import base64
import shutil
import subprocess
from dataclasses import replace

import pytest

from planner.errors import NoCapacity, ProvisioningError, SpecError
from provisioners.aws.access import Door, Rule, close_others, find_group, group_name, key_name, ranged, rules_of
from provisioners.aws.images import DEEP_LEARNING_IMAGE, Image
from provisioners.aws.own_address import CHECK_URL
from provisioners.base import Label, LeaseRequest
from provisioners.rendering import rendered
from tests.provisioners.aws_cloud import IMAGE
from tests.provisioners.aws_world import (
    DEADMAN,
    ELSEWHERE,
    OPERATOR,
    PUBLIC_KEY,
    REGION,
    SMALL,
    SMALL_SPOT,
    USER_DATA,
    aws_world,
    rented,
    request,
    seen,
)
from tests.provisioners.fakes import OWNER

NAME = group_name(OWNER, "d")


@pytest.fixture
def world():
    with aws_world(quick=True) as made:
        yield made


async def described(world, offer_id: str = SMALL):
    """A machine's row, as AWS has it."""
    machine = await rented(world.provisioner(), offer_id)
    instance_id = machine.provider_id.partition("/")[2]
    [group] = world.ec2().describe_instances(InstanceIds=[instance_id])["Reservations"]
    return group["Instances"][0]


async def open_ports(world, region: str = REGION) -> set[tuple[str, int]]:
    group = await find_group(world.clients, region, NAME)
    return {(rule.source, rule.port) for rule in rules_of(group)}


async def test_a_machine_bears_its_label_its_price_and_who_it_belongs_to(world):
    row = await described(world)
    tags = {tag["Key"]: tag["Value"] for tag in row["Tags"]}
    assert tags["thunder:label"].startswith(f"thunder:{OWNER}:d:")
    assert (tags["thunder:owner"], tags["thunder:deployment"]) == (OWNER, "d")
    assert float(tags["thunder:usd-per-hour"]) == pytest.approx(1.0474, abs=1e-4)
    volumes = world.ec2().describe_volumes()["Volumes"]
    assert tags in [{tag["Key"]: tag["Value"] for tag in one.get("Tags", [])} for one in volumes]


async def test_a_machine_ends_with_its_shutdown_its_volume_with_it_and_its_metadata_want_a_token(world):
    row = await described(world)
    [sent] = world.cloud.operations("RunInstances")
    assert sent["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert (sent["MetadataOptions.HttpTokens"], sent["MetadataOptions.HttpPutResponseHopLimit"]) == ("required", "1")
    assert sent["BlockDeviceMapping.1.Ebs.DeleteOnTermination"] == "true"
    assert int(sent["BlockDeviceMapping.1.Ebs.VolumeSize"]) >= 120 + 8  # what was asked for, beside the image itself
    assert [sent[f"BlockDeviceMapping.1.Ebs.{name}"] for name in ("Throughput", "Iops")] == ["400", "3000"]
    assert row["Placement"]["AvailabilityZone"] == "us-east-1a"
    assert row["ImageId"] == IMAGE


async def test_the_token_is_the_lease_id(world):
    machine = await rented(world.provisioner())
    [sent] = world.cloud.operations("RunInstances")
    assert sent["ClientToken"] == Label.parse(machine.label).lease_id


async def test_a_spot_machine_is_asked_for_once_at_most_at_the_request_and_ended_not_stopped(world):
    row = await described(world, SMALL_SPOT)
    [sent] = world.cloud.operations("RunInstances")
    options = {name.rpartition(".")[2]: value for name, value in sent.items() if "SpotOptions" in name}
    assert options["SpotInstanceType"] == "one-time"
    assert options["InstanceInterruptionBehavior"] == "terminate"
    assert float(options["MaxPrice"]) == pytest.approx(1.006 * 0.4 * 1.2, abs=1e-6)
    assert row["InstanceLifecycle"] == "spot"


async def test_a_spot_machine_costs_what_the_market_asks_for_it_now(world):
    provisioner = world.provisioner()
    await rented(provisioner, SMALL_SPOT)
    assert (await seen(provisioner)).usd_per_hour == pytest.approx(1.006 * 0.4 + 0.04144, abs=1e-4)
    world.cloud.spot_usd["g5.xlarge"] = 0.45
    world.clock.at += 61.0
    assert (await seen(provisioner)).usd_per_hour == pytest.approx(0.45 + 0.04144, abs=1e-4)


async def test_where_the_market_cannot_be_asked_it_costs_the_most_that_was_allowed(world):
    provisioner = world.provisioner()
    machine = await rented(provisioner, SMALL_SPOT)
    world.cloud.refused["DescribeSpotPriceHistory"] = "UnauthorizedOperation"
    assert (await seen(provisioner)).usd_per_hour == pytest.approx(machine.usd_per_hour, abs=1e-6)


async def test_a_machine_that_aws_takes_back_is_told_of_before_it_is_gone(world):
    provisioner = world.provisioner()
    machine = await rented(provisioner, SMALL_SPOT)
    assert not (await seen(provisioner)).problem
    world.cloud.notices[machine.provider_id.partition("/")[2]] = "marked-for-termination"
    assert "within two minutes" in (await seen(provisioner)).problem
    world.cloud.refused["DescribeSpotInstanceRequests"] = "UnauthorizedOperation"
    assert not (await seen(provisioner)).problem  # not to know is no reason to distrust the listing


async def test_a_machine_that_stopped_is_of_no_use_and_bills_its_volume(world):
    provisioner = world.provisioner()
    machine = await rented(provisioner)
    world.ec2().stop_instances(InstanceIds=[machine.provider_id.partition("/")[2]])
    assert "bills its volume" in (await seen(provisioner)).problem


async def test_a_running_machine_says_where_it_is_reached(world):
    provisioner = world.provisioner()
    assert not (await rented(provisioner)).address
    machine = await seen(provisioner)
    assert machine.state == "running"
    assert machine.address.startswith("ec2-")  # a name that is the private address inside its own network
    assert machine.ssh == (machine.address.partition(".")[0].removeprefix("ec2-").replace("-", "."), 22)


@pytest.mark.parametrize(
    ("offer_id", "interruptible", "usd_per_hour"),
    [
        (SMALL, True, 9.0),
        (SMALL_SPOT, False, 9.0),
        ("local-slot", False, 9.0),
        (SMALL, False, 0.9),
        (SMALL_SPOT, True, 0.02),
        (SMALL.replace("g5.xlarge", "g99.xlarge"), False, 9.0),
    ],
)
async def test_a_request_that_fits_no_offer_is_refused_before_it_is_sent(world, offer_id, interruptible, usd_per_hour):
    with pytest.raises(NoCapacity):
        await world.provisioner().lease(LeaseRequest(Label(OWNER, "d", "l"), offer_id, usd_per_hour, interruptible))
    assert not world.cloud.operations("RunInstances")


async def test_our_key_is_there_once_under_a_name_that_says_which_it_is(world):
    for _ in range(2):
        row = await described(world)
    [pair] = world.ec2().describe_key_pairs()["KeyPairs"]
    assert row["KeyName"] == pair["KeyName"] == key_name(PUBLIC_KEY)
    assert key_name(PUBLIC_KEY) == key_name(PUBLIC_KEY.replace("thunderctl", "another comment"))
    assert key_name(PUBLIC_KEY) != key_name(PUBLIC_KEY.replace("GFJ", "GFK"))


async def test_only_the_operator_and_the_deployments_own_machines_get_in(world):
    row = await described(world)
    assert [group["GroupName"] for group in row["SecurityGroups"]] == [NAME]
    assert await open_ports(world) == {(f"{OPERATOR}/32", 22), (f"{OPERATOR}/32", 8443)}
    [pair] = [
        pair
        for one in (await find_group(world.clients, REGION, NAME))["IpPermissions"]
        for pair in one["UserIdGroupPairs"]
    ]
    assert pair["GroupId"] == row["SecurityGroups"][0]["GroupId"]


async def test_a_second_machine_asks_for_no_rule_again(world):
    provisioner = world.provisioner()
    for _ in range(2):
        await rented(provisioner)
    assert len(world.cloud.operations("CreateSecurityGroup")) == 1
    assert len(world.cloud.operations("AuthorizeSecurityGroupIngress")) == 3


async def test_the_fleets_addresses_are_let_in_as_they_come_and_kept_out_when_they_are_gone(world):
    provisioner = world.provisioner()
    await rented(provisioner)
    mine = {(f"{OPERATOR}/32", 22), (f"{OPERATOR}/32", 8443)}
    for fleet in ({"203.0.113.1", "2001:db8::7"}, {"203.0.113.1"}, {"203.0.113.2"}, {"203.0.113.2"}, set()):
        await provisioner.let_in(OWNER, "d", fleet)
        assert await open_ports(world) == mine | {(ranged(one), 8443) for one in fleet}
    await provisioner.let_in(OWNER, "another", {"203.0.113.9"})
    assert await open_ports(world) == mine


async def test_who_moved_is_let_in_and_the_old_address_no_more(world):
    await rented(world.provisioner())
    moved = world.provisioner(places={"open_to": ("192.0.2.1",)})
    await rented(moved)
    await moved.let_in(OWNER, "d", ())
    assert await open_ports(world) == {("192.0.2.1/32", 22), ("192.0.2.1/32", 8443)}


async def test_ones_own_address_is_asked_for_where_none_is_named(world):
    world.fetched[CHECK_URL] = "192.0.2.77\n"
    await rented(world.provisioner(places={"open_to": (), "fetch": world.fetch}))
    assert ("192.0.2.77/32", 22) in await open_ports(world)


async def test_who_moved_while_the_fleet_runs_is_let_in_too_and_nobody_is_kept_out(world):
    world.fetched[CHECK_URL] = "192.0.2.77\n"
    provisioner = world.provisioner(places={"open_to": (), "fetch": world.fetch})
    await rented(provisioner)
    await provisioner.let_in(OWNER, "d", {"203.0.113.1"})
    world.fetched[CHECK_URL] = "192.0.2.78\n"
    before = await open_ports(world)
    for _ in range(2):
        await provisioner.let_operator_in(OWNER, "d")
        assert await open_ports(world) == before | {("192.0.2.78/32", 22), ("192.0.2.78/32", 8443)}
    await provisioner.let_operator_in(OWNER, "another")
    await provisioner.let_in(OWNER, "d", {"203.0.113.1"})
    assert ("192.0.2.77/32", 22) not in await open_ports(world)


@pytest.mark.parametrize("said", [None, "<html>"])
async def test_an_address_that_is_not_known_is_asked_of_the_user_before_anything_is_rented(world, said):
    world.fetched |= {CHECK_URL: said} if said else {}
    with pytest.raises(ProvisioningError, match="not known") as refused:
        await rented(world.provisioner(places={"open_to": (), "fetch": world.fetch}))
    assert "[markets.aws] open_to" in refused.value.hint
    assert not world.cloud.operations("RunInstances")


def test_a_door_opens_ssh_to_the_operator_alone():
    door = Door(("198.51.100.0/24",), 8443, frozenset({"203.0.113.1"}))
    assert set(door.rules) == {
        Rule("198.51.100.0/24", 22),
        Rule("198.51.100.0/24", 8443),
        Rule("203.0.113.1/32", 8443),
    }
    with pytest.raises(SpecError, match="no address"):
        ranged("my laptop")


async def test_closing_what_is_not_there_is_done(world):
    await close_others(world.clients, REGION, "thunder-none", Door((), 8443))


async def test_machines_of_one_replica_stand_in_one_cluster(world):
    provisioner = world.provisioner()
    offer = await provisioner.quote(SMALL)
    for _ in range(2):
        await provisioner.lease(request(offer, group="r0"))
    assert world.cloud.groups == {f"{NAME}-r0": "cluster"}
    assert {sent["Placement.GroupName"] for sent in world.cloud.operations("RunInstances")} == {f"{NAME}-r0"}


async def test_the_image_is_awss_own_unless_the_user_or_the_caller_finds_another(world):
    await rented(world.provisioner())
    assert [asked["Name"] for asked in world.cloud.operations("GetParameter")] == [DEEP_LEARNING_IMAGE]

    async def found(_clients, region, named):
        return Image(IMAGE, "/dev/xvda", 200.0) if (region, named) == (REGION, "mine") else None

    await rented(world.provisioner(places={"find_image": found, "image": "mine"}))
    sent = world.cloud.operations("RunInstances")[-1]
    assert sent["BlockDeviceMapping.1.DeviceName"] == "/dev/xvda"
    assert sent["BlockDeviceMapping.1.Ebs.VolumeSize"] == "320"


async def test_an_image_that_the_region_does_not_have_is_refused_before_anything_is_rented(world):
    with pytest.raises(ProvisioningError, match="ami-00000000000000000"):
        await rented(world.provisioner(places={"image": "ami-00000000000000000"}))
    assert not world.cloud.operations("RunInstances")


async def test_machines_are_found_in_every_region_where_one_was_ever_asked_for(world):
    there = SMALL.replace("us-east-1", ELSEWHERE).replace("g5.xlarge", "g5.12xlarge")
    machine = await rented(world.provisioner(ELSEWHERE), there)
    assert machine.provider_id.startswith(f"{ELSEWHERE}/i-")
    here = world.provisioner(REGION)
    assert [one.provider_id for one in (await here.observe()).machines] == [machine.provider_id]
    await here.release(machine.provider_id)
    assert not (await here.observe()).machines


async def test_without_a_region_named_all_of_the_account_are_looked_at(world):
    world.put_foreign(region=ELSEWHERE)
    regions = world.regions()
    assert {REGION, ELSEWHERE} < set(await regions.chosen())
    assert set(await world.regions("us-").in_use()) < set(await regions.in_use())


async def test_one_region_that_cannot_be_listed_makes_the_listing_incomplete(world):
    provisioner = world.provisioner(REGION, ELSEWHERE)
    await rented(provisioner)
    world.cloud.spoil("list", "UnauthorizedOperation")
    listing = await provisioner.observe()
    assert not listing.complete
    assert "Listing " in listing.reason
    assert (await provisioner.observe()).complete


async def test_a_wrong_region_is_named_with_the_right_one(world):
    with pytest.raises(SpecError, match=r"us-esat-1.*did you mean .*us-east-1"):
        await world.provisioner("us-esat-1").offers()
    listing = await world.provisioner("us-esat-1").observe()
    assert not listing.complete
    assert "us-esat-1" in listing.reason


async def test_a_memory_that_cannot_be_written_stops_before_anything_is_rented(world):
    (world.folder / "aws").write_text("a file where a folder should be")
    with pytest.raises(ProvisioningError):
        await rented(world.provisioner())
    assert not world.cloud.operations("RunInstances")
    assert not (await world.provisioner().observe()).complete


async def test_many_machines_are_listed_page_by_page(world, monkeypatch):
    monkeypatch.setattr("provisioners.aws.instances.ROWS", 5)
    for _ in range(12):
        world.put_foreign()
    listing = await world.provisioner().observe()
    assert listing.complete
    assert len(listing.machines) == 12
    assert len(world.cloud.operations("DescribeInstances")) == 3


async def test_what_others_have_is_listed_and_their_prices_are_not_our_concern(world):
    world.put_foreign()
    machine = await seen(world.provisioner())
    assert (machine.label, machine.usd_per_hour) == ("", 0.0)


def script(**values) -> str:
    deadman = rendered(DEADMAN, deadman_s=7200, lifetime_s=3600, look_s=60)
    return rendered(USER_DATA, **{"folder": "/opt/thunder", "deadman": deadman} | values)


async def test_a_machine_starts_its_dead_mans_switch_at_boot(world):
    provisioner = world.provisioner(deadman_s=1800.0)
    offer = await provisioner.quote(SMALL)
    await provisioner.lease(replace(request(offer), lifetime_s=5400.0))
    [sent] = world.cloud.operations("RunInstances")
    text = base64.b64decode(sent["UserData"]).decode()
    assert text.startswith("#!/bin/sh\n")
    assert "1800" in text
    assert "5400" in text
    assert "shutdown -h now" in text


@pytest.mark.skipif(shutil.which("dash") is None, reason="no dash here")
def test_the_boot_script_is_one_that_a_plain_shell_reads(tmp_path):
    path = tmp_path / "user_data.sh"
    path.write_text(script())
    assert subprocess.run(["dash", "-n", path], check=False, capture_output=True).stderr == b""


def test_the_boot_script_leaves_a_switch_and_a_service_behind(tmp_path):
    folder, units = tmp_path / "it's here", tmp_path / "units"
    units.mkdir()
    (tmp_path / "systemctl").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/said\n')
    (tmp_path / "systemctl").chmod(0o755)
    text = script(folder=str(folder)).replace("/etc/systemd/system", str(units))
    subprocess.run(["sh", "-c", text], check=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert (folder / "run" / "end_machine.sh").read_text() == "shutdown -h now || poweroff -f\n"
    assert "run/end_machine.sh" in (folder / "run" / "deadman.sh").read_text()
    assert f"WorkingDirectory={folder}" in (units / "thunder-deadman.service").read_text()
    assert (tmp_path / "said").read_text().splitlines()[-1] == "enable --now thunder-deadman.service"


def test_a_boot_script_that_ec2_would_not_take_is_refused(world):
    with pytest.raises(SpecError, match="16384"):
        world.provisioner(user_data="x" * 16_385)
    assert len(script()) < 4096


async def test_the_way_in_is_ssh_as_the_images_user_who_becomes_root(world):
    provisioner = world.provisioner()
    await rented(provisioner)
    machine = await seen(provisioner)
    transport = provisioner.transport(machine)
    assert transport._sudo
    assert str(transport._connection.address) == f"ubuntu@{machine.ssh[0]}:22"
    assert provisioner.folder(machine) == "/opt/thunder"
    provisioner.close()
