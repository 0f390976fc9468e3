"""Every answer that EC2's facts list, and the outcome that our adapter makes of it."""

import pytest

from planner.errors import AuthError, NoCapacity, OutcomeUnknown, ProvisioningError, RateLimited
from provisioners.aws.answers import Failure, create_refusal, refusal
from provisioners.aws.client import AwsClients
from tests.provisioners.aws_world import REGION, SMALL, aws_world, rented


@pytest.fixture
def world():
    with aws_world(quick=True) as made:
        yield made


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("InsufficientInstanceCapacity", NoCapacity),
        ("MaxSpotInstanceCountExceeded", NoCapacity),
        ("VcpuLimitExceeded", NoCapacity),
        ("UnfulfillableCapacity", NoCapacity),
        ("Unsupported", NoCapacity),
        ("InsufficientFreeAddressesInSubnet", NoCapacity),
        ("SpotMaxPriceTooLow", NoCapacity),
        ("RequestLimitExceeded", RateLimited),
        ("InvalidGroup.NotFound", RateLimited),
        ("InvalidKeyPair.NotFound", RateLimited),
        ("InvalidPlacementGroup.Unknown", RateLimited),
        ("AuthFailure", AuthError),
        ("UnauthorizedOperation", AuthError),
        ("InvalidAMIID.NotFound", ProvisioningError),
        ("InvalidInstanceType", ProvisioningError),
        ("InternalError", OutcomeUnknown),
        ("Unavailable", OutcomeUnknown),
        ("IdempotentParameterMismatch", OutcomeUnknown),
        ("504 before", OutcomeUnknown),
        ("504 after", OutcomeUnknown),
        ("dropped before", OutcomeUnknown),
        ("dropped after", OutcomeUnknown),
        ("no id", OutcomeUnknown),
        ("html", OutcomeUnknown),
    ],
)
async def test_a_create_that_names_no_machine_is_a_clear_no_or_unknown_and_never_sent_again(world, fault, error):
    world.cloud.spoil("create", fault)
    with pytest.raises(error) as refused:
        await rented(world.provisioner())
    assert type(refused.value) is error
    assert len(world.cloud.operations("RunInstances")) == 1
    if error is not OutcomeUnknown:
        assert not world.cloud.instances()


async def test_the_same_token_makes_no_second_machine(world):
    """Moto makes one; the shim has to be what EC2 is, or the crash cases prove nothing."""
    await rented(world.provisioner())
    [sent] = world.cloud.operations("RunInstances")
    again = {"ImageId": sent["ImageId"], "MinCount": 1, "MaxCount": 1, "ClientToken": sent["ClientToken"]}
    await world.clients.run_instance("Again", REGION, again)
    assert len(world.cloud.instances()) == 1


async def test_reads_are_asked_again_until_they_go_well(world):
    world.cloud.spoil("list", "RequestLimitExceeded", "dropped", "InternalError")
    assert (await world.provisioner().observe()).complete
    assert world.clock.at == 1_000_000.0 + 8.5


@pytest.mark.parametrize("fault", ["InternalError", "InternalError after", "dropped", "dropped after"])
async def test_ending_a_machine_is_asked_until_it_is_heard(world, fault):
    provisioner = world.provisioner()
    machine = await rented(provisioner)
    world.cloud.spoil("delete", fault, fault)
    await provisioner.release(machine.provider_id)
    assert not world.cloud.instances()


async def test_an_end_that_is_refused_is_an_error(world):
    provisioner = world.provisioner()
    machine = await rented(provisioner)
    world.cloud.spoil("delete", "OperationNotPermitted")
    with pytest.raises(ProvisioningError, match="OperationNotPermitted"):
        await provisioner.release(machine.provider_id)


@pytest.mark.parametrize("code", ["AuthFailure", "InvalidClientTokenId", "SignatureDoesNotMatch"])
async def test_bad_credentials_are_one_message_with_the_mend(world, code):
    world.cloud.refused["*"] = code
    with pytest.raises(AuthError, match=code) as refused:
        await world.provisioner().offers()
    assert "aws sts get-caller-identity" in refused.value.hint
    assert not world.provisioner().notes


@pytest.mark.parametrize(("ahead_s", "way"), [(3600.0, "3,600 s ahead of"), (-3600.0, "3,600 s behind")])
@pytest.mark.parametrize("code", ["RequestExpired", "AuthFailure", "SignatureDoesNotMatch"])
async def test_a_clock_that_is_an_hour_off_is_named_whatever_the_refusal_is_called(world, code, ahead_s, way):
    world.cloud.refused["*"], world.cloud.ahead_s = code, ahead_s
    with pytest.raises(AuthError, match=way) as refused:
        await world.provisioner().offers()
    assert "timedatectl" in refused.value.hint


async def test_what_is_not_allowed_names_the_policy_even_if_the_clock_is_off(world):
    world.cloud.refused["DescribeInstances"], world.cloud.ahead_s = "UnauthorizedOperation", 3600.0
    listing = await world.provisioner().observe()
    assert not listing.complete
    assert "UnauthorizedOperation" in listing.reason
    assert "docs/guides/aws.md" in listing.reason


async def test_without_credentials_nothing_is_sent(world, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    clients = AwsClients(sleep=world.clock.sleep)
    assert not clients.has_credentials
    with pytest.raises(AuthError, match="credentials"):
        await clients.call("Listing", "ec2", REGION, "describe_regions", {})


@pytest.mark.usefixtures("world")
def test_a_profile_that_there_is_not_is_named(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(AuthError, match="nobody") as refused:
        AwsClients()
    assert "AWS_PROFILE" in refused.value.hint


async def test_what_cannot_be_reached_was_not_asked(world, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    clients = AwsClients(sleep=world.clock.sleep)
    with pytest.raises(ProvisioningError, match="can't be reached") as refused:
        await clients.run_instance("Leasing", REGION, {"MinCount": 1, "MaxCount": 1})
    assert type(refused.value) is ProvisioningError
    assert "regions" in refused.value.hint


async def test_a_name_that_no_region_can_have_is_not_asked_for(world):
    with pytest.raises(ProvisioningError, match="can't be reached"):
        await world.clients.call("Listing", "ec2", "us east 1", "describe_instances", {})


def test_a_refusal_for_want_of_capacity_or_quota_is_not_worth_asking_again():
    assert not Failure("InsufficientInstanceCapacity", 500, "").passing
    assert not Failure("NoCredentials", 0, "").passing
    assert Failure("InternalError", 500, "").passing
    assert Failure("RequestLimitExceeded", 503, "").passing
    assert Failure("InvalidGroup.NotFound", 400, "").passing


def test_a_quota_that_is_used_up_says_where_more_is_asked_for():
    for code in ("VcpuLimitExceeded", "MaxSpotInstanceCountExceeded"):
        assert "Service Quotas" in create_refusal("Leasing", Failure(code, 400, "")).hint
    assert "create-default-vpc" in refusal("Leasing", Failure("VPCIdNotSpecified", 400, "")).hint


async def test_an_offer_that_is_no_offer_of_aws_is_not_asked_for(world):
    with pytest.raises(AssertionError):
        await rented(world.provisioner(), SMALL.replace("us-east-1a", "us-east-1z"))
    assert not world.cloud.operations("RunInstances")


async def test_the_account_is_that_of_the_credentials(world):
    assert await world.clients.account() == await world.provisioner().account() == "123456789012"
