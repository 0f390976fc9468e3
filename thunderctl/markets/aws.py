"""AWS as the environment names it (the standard variables, AWS_PROFILE, AWS_REGION), and its live offers for a spec."""

import os
import re
from collections.abc import Callable
from importlib.resources import files
from math import inf
from typing import TYPE_CHECKING

from planner.errors import AuthError
from provisioners.aws.client import AwsClients
from provisioners.aws.images import DEEP_LEARNING_IMAGE
from provisioners.aws.market import MarketReader
from provisioners.aws.offers import SpotPolicy
from provisioners.aws.places import Places
from provisioners.aws.provisioner import AwsProvisioner, Terms
from provisioners.aws.regions import RegionMemory, Regions
from provisioners.aws.spot_feeds import FEEDS
from provisioners.ssh.rented import RentedHosts
from thunderctl.home import thunder_home
from thunderctl.keys.machine_key import machine_key
from thunderctl.markets.needs import needs_of
from thunderctl.spec.spec import Spec

if TYPE_CHECKING:
    from planner.catalog import Offer

NAMED_REASONS = 8
FEED_VARIABLE = "THUNDER_AWS_SPOT_FEED_URL"
"""Where spot prices are read that the account may not ask for; several by commas or spaces."""


def aws_provisioner(spec: Spec | None = None) -> AwsProvisioner:
    """The account of the environment, rented from as the spec says."""
    wanted, key, home = spec or Spec(), machine_key(), thunder_home() / "aws"
    aws, bids, templates = wanted.markets.aws, wanted.markets.bids, files("templates")
    clients = AwsClients()
    return AwsProvisioner(
        clients,
        MarketReader(clients, feeds=spot_feeds()),
        Regions(clients, RegionMemory(home / "regions"), wanted.markets.regions),
        Places(clients, key.public, aws.open_to, aws.image or DEEP_LEARNING_IMAGE),
        Terms(
            user_data=(templates / "ec2_user_data.sh.j2").read_text(),
            deadman=(templates / "deadman.sh.j2").read_text(),
            hosts=RentedHosts("aws", home / "known_hosts", key.keys, key.public, user=aws.user, sudo=True),
            disk_gb=needs_of(wanted).disk_gb,
            spot=SpotPolicy(bids.factor, bids.most_usd_per_gpu_hour or inf),
            deadman_s=wanted.leases.deadman_s,
            lifetime_s=3600 * wanted.budget.max_hours,
        ),
    )


def check_account() -> None:
    """Raise AuthError where there are no credentials to rent with; whether they are good, the first call says."""
    if not AwsClients().has_credentials:
        raise AuthError(
            "There are no AWS credentials; expected AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile.",
            hint="`aws configure`, or `aws sso login` and AWS_PROFILE. docs/guides/aws.md has the policy they need.",
        )


async def live_aws(spec: Spec, narrate: Callable[[str], None]) -> "tuple[Offer, ...]":
    """What AWS sells now to the account. Raises ProvisioningError where it can't be asked."""
    check_account()
    provisioner = aws_provisioner(spec)
    offers = await provisioner.offers()
    for note in provisioner.notes:
        narrate(note)
    if left_out := provisioner.left_out:
        named = ", ".join(f"{count} {reason}" for reason, count in left_out.most_common(NAMED_REASONS))
        narrate(f"Left out of AWS's offers: {named}{', ...' if len(left_out) > NAMED_REASONS else ''}.")
    if not offers and any("quota" in reason for reason in left_out):
        narrate("The account's quotas allow no GPUs: ask for some at Service Quotas, Amazon EC2, in that region.")
    if any(offer.interruptible for offer in offers) and spec.markets.interruptible != "never":
        narrate(
            f"AWS's spot machines are offered at the most they may cost: {provisioner.spot.in_words} ([markets.bids])."
        )
    return offers


def spot_feeds() -> tuple[str, ...]:
    return tuple(filter(None, re.split(r"[,\s]+", os.environ.get(FEED_VARIABLE, "")))) or FEEDS
