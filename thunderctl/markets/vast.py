"""Vast.ai as the environment names it (VAST_API_KEY, VAST_URL), and its live offers for a spec."""

import os
from collections import Counter
from collections.abc import Callable
from importlib.resources import files
from math import inf
from typing import TYPE_CHECKING

from planner.errors import AuthError
from provisioners.ssh.rented import RentedHosts
from provisioners.vast.bids import BidPolicy
from provisioners.vast.client import VastClient
from provisioners.vast.provisioner import VastProvisioner
from provisioners.vast.terms import IMAGE, URL, Terms
from thunderctl.home import thunder_home
from thunderctl.keys.machine_key import machine_key
from thunderctl.markets.needs import needs_of
from thunderctl.spec.spec import Spec

if TYPE_CHECKING:
    from planner.catalog import Offer

NAMED_REASONS = 6


def vast_provisioner(spec: Spec | None = None) -> VastProvisioner:
    """The account of VAST_API_KEY, rented from as the spec says; without a key there are offers to read, no more."""
    url, wanted, key = os.environ.get("VAST_URL") or URL, spec or Spec(), machine_key()
    bids = wanted.markets.bids
    terms = Terms(
        onstart=(files("templates") / "vast_onstart.sh.j2").read_text(),
        deadman=(files("templates") / "deadman.sh.j2").read_text(),
        hosts=RentedHosts("vast", thunder_home() / "vast" / "known_hosts", key.keys, key.public),
        needs=needs_of(wanted),
        bids=BidPolicy(bids.factor, bids.most_usd_per_gpu_hour or inf),
        image=wanted.markets.vast.image or IMAGE,
        engine_python=wanted.markets.vast.engine_python,
        boot_s=wanted.leases.ready_deadline_s,
        deadman_s=wanted.leases.deadman_s,
        url=url,
    )
    return VastProvisioner(VastClient(os.environ.get("VAST_API_KEY"), url=url), terms)


def check_account() -> None:
    """Raise AuthError where there is no key to rent with."""
    if not os.environ.get("VAST_API_KEY"):
        raise AuthError(
            "VAST_API_KEY is not set; expected the key of the account that pays.",
            hint="Make one at cloud.vast.ai (Account, API keys), and put it into the environment.",
        )


async def live_vast(spec: Spec, narrate: Callable[[str], None]) -> "tuple[Offer, ...]":
    """What Vast.ai sells now for as long as the spec may run. Raises ProvisioningError where it can't be asked."""
    provisioner = vast_provisioner(spec)
    offers = await provisioner.offers()
    if provisioner.left_out:
        narrate(left_out_in_words(provisioner.left_out))
    if any(offer.interruptible for offer in offers) and spec.markets.interruptible != "never":
        narrate(f"Vast.ai's interruptible machines cost our bid: {provisioner.bids.in_words} ([markets.bids]).")
    return offers


def left_out_in_words(left_out: Counter[str]) -> str:
    """`Left out 12 offers of Vast.ai: 8 not verified by Vast.ai, 4 ...`."""
    named = ", ".join(f"{count} {reason}" for reason, count in left_out.most_common(NAMED_REASONS))
    more = ", ..." if len(left_out) > NAMED_REASONS else ""
    return f"Left out {left_out.total()} offers of Vast.ai: {named}{more}."
