"""Vast.ai as the environment names it (VAST_API_KEY, VAST_URL), and its live offers for a spec."""

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files

from planner.errors import ThunderError
from planner.market import LEASABLE, Market
from provisioners.vast.client import VastClient
from provisioners.vast.offers import Needs
from provisioners.vast.provisioner import URL, Access, Terms, VastProvisioner
from thunderctl.home import thunder_home
from thunderctl.spec import Spec

NAMED_REASONS = 6


def vast_provisioner(spec: Spec | None = None) -> VastProvisioner:
    """The account of VAST_API_KEY, rented from as the spec says; without a key there are offers to read, no more."""
    url, wanted = os.environ.get("VAST_URL") or URL, spec or Spec()
    terms = Terms(
        onstart=(files("templates") / "vast_onstart.sh.j2").read_text(),
        access=Access(thunder_home() / "vast" / "known_hosts"),
        needs=Needs(max_hours=wanted.budget.max_hours),
        boot_s=wanted.leases.ready_deadline_s,
        deadman_s=wanted.leases.deadman_s,
        url=url,
    )
    return VastProvisioner(VastClient(os.environ.get("VAST_API_KEY"), url=url), terms)


def live_vast(spec: Spec, narrate: Callable[[str], None]) -> Market | None:
    """What Vast.ai sells now for as long as the spec may run; None, narrated, where it can't be asked."""
    try:
        provisioner = vast_provisioner(spec)
        offers = asyncio.run(provisioner.offers())
    except ThunderError as error:
        narrate(f"{error.message} {error.hint}".strip() + " Its offers are those of the dated snapshot.")
        return None
    if provisioner.left_out:
        narrate(left_out_in_words(provisioner.left_out))
    shown = tuple(replace(offer, leasable="vast" in LEASABLE) for offer in offers)
    return Market(shown, datetime.now(UTC).isoformat(timespec="seconds"), "live")


def left_out_in_words(left_out: Counter[str]) -> str:
    """`Left out 12 offers of Vast.ai: 8 GPU 'GTX 1660' is not known, 4 ...`."""
    named = ", ".join(f"{count} {reason}" for reason, count in left_out.most_common(NAMED_REASONS))
    more = ", ..." if len(left_out) > NAMED_REASONS else ""
    return f"Left out {left_out.total()} offers of Vast.ai: {named}{more}."
