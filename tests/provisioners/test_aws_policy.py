"""The policy of docs/guides/aws.md: it is JSON, and allows what is asked in a machine's life, and no more."""

import json
import re
from pathlib import Path

import pytest

from tests.provisioners.aws_world import ELSEWHERE, SMALL, SMALL_SPOT, aws_world, rented, request
from tests.provisioners.fakes import OWNER

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "aws.md"
OPTIONAL = {
    "pricing:GetProducts",
    "ec2:DescribeSpotPriceHistory",
    "servicequotas:GetServiceQuota",
    "ec2:DescribeSpotInstanceRequests",
}
SERVICES = {"GetProducts": "pricing", "GetServiceQuota": "servicequotas", "GetParameter": "ssm"}
NOT_CALLED = {"ec2:CreateTags", "iam:CreateServiceLinkedRole"}
"""What AWS itself wants for tags of RunInstances, and for an account's first spot machine."""


@pytest.fixture(scope="module")
def statements():
    [text] = re.findall(r"```json\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    return json.loads(text)["Statement"]


@pytest.fixture(scope="module")
def allowed(statements):
    listed = [one["Action"] if isinstance(one["Action"], list) else [one["Action"]] for one in statements]
    return {action for actions in listed for action in actions}


async def test_it_allows_a_machines_whole_life_and_nothing_else(allowed):
    with aws_world() as world:
        provisioner = world.provisioner()
        await provisioner.offers()
        offer = await provisioner.quote(SMALL)
        machines = [await provisioner.lease(request(offer, group="r0")), await rented(provisioner, SMALL_SPOT)]
        for fleet in ({"203.0.113.1"}, set()):
            await provisioner.let_in(OWNER, "d", fleet)
        await provisioner.observe()
        for machine in machines:
            await provisioner.release(machine.provider_id)
        asked = {f"{SERVICES.get(name, 'ec2')}:{name}" for name, _ in world.cloud.asked}
        asked |= {"ec2:DescribeRegions"} if await world.regions(ELSEWHERE).chosen() else set()
    assert allowed - NOT_CALLED == asked


def test_machines_of_others_cannot_be_ended_nor_tags_changed(statements):
    conditions = {one["Sid"]: one.get("Condition") for one in statements}
    assert conditions["EndOnlyOurs"] == {"StringLike": {"ec2:ResourceTag/thunder:label": "thunder:*"}}
    assert conditions["TagOnlyWhatIsBeingMade"] == {"StringEquals": {"ec2:CreateAction": "RunInstances"}}


def test_what_the_guide_calls_optional_is_what_may_be_missing(allowed):
    assert set(re.findall(r"^\| `([\w:]+)` \|", GUIDE.read_text(), re.MULTILINE)) == OPTIONAL <= allowed


async def test_an_account_without_what_is_optional_rents_all_the_same():
    with aws_world() as world:
        world.cloud.refused |= {action.partition(":")[2]: "UnauthorizedOperation" for action in OPTIONAL}
        provisioner = world.provisioner()
        machine = await rented(provisioner)
        listing = await provisioner.observe()
    assert [one.provider_id for one in listing.machines] == [machine.provider_id]
    assert len(provisioner.notes) == 3
