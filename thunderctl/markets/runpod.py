"""RunPod as the environment names it (RUNPOD_API_KEY, RUNPOD_URL), and its live offers for a spec."""

import os
import time
from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING

from planner.errors import AuthError
from provisioners.rendering import rendered
from provisioners.runpod.client import CREDENTIALS, URL, RunPodClient
from provisioners.runpod.provisioner import FOLDER, RunPodProvisioner
from provisioners.ssh.rented import RentedHosts
from thunderctl.home import thunder_home
from thunderctl.keys.machine_key import machine_key
from thunderctl.markets.needs import needs_of
from thunderctl.spec.spec import Spec

if TYPE_CHECKING:
    from planner.catalog import Offer

DEADMAN_LOOK_S = 60


def runpod_provisioner(spec: Spec | None = None) -> RunPodProvisioner:
    """The account of RUNPOD_API_KEY, rented from as the spec says."""
    url, wanted, key = os.environ.get("RUNPOD_URL") or URL, spec or Spec(), machine_key()
    return RunPodProvisioner(
        RunPodClient(os.environ.get("RUNPOD_API_KEY"), url=url),
        RentedHosts("runpod", thunder_home() / "runpod" / "known_hosts", key.keys, key.public),
        lambda lifetime_s: start_script(wanted, url, lifetime_s),
        disk_gb=needs_of(wanted).disk_gb,
        boot_s=wanted.leases.ready_deadline_s,
        clock=time.monotonic,
    )


def start_script(spec: Spec, url: str, lifetime_s: float = 0.0) -> str:
    """What a pod runs at boot: it may live for `lifetime_s`, or as long as the spec's leases do."""
    templates = files("templates")
    deadman = rendered(
        (templates / "deadman.sh.j2").read_text(),
        deadman_s=round(spec.leases.deadman_s),
        lifetime_s=round(lifetime_s or 3600 * spec.budget.max_hours),
        look_s=DEADMAN_LOOK_S,
    )
    return rendered((templates / "runpod_start.sh.j2").read_text(), folder=FOLDER, deadman=deadman, url=url)


def check_account() -> None:
    """Raise AuthError where there is no key to rent with."""
    if not os.environ.get("RUNPOD_API_KEY"):
        raise AuthError("RUNPOD_API_KEY is not set; expected the key of the account that pays.", hint=CREDENTIALS)


async def live_runpod(spec: Spec, narrate: Callable[[str], None]) -> "tuple[Offer, ...]":
    """What RunPod sells now. Raises ProvisioningError where it can't be asked."""
    provisioner = runpod_provisioner(spec)
    offers = await provisioner.offers()
    if left_out := provisioner.left_out:
        narrate(f"Left out of RunPod's catalogue: {', '.join(left_out)}.")
    return offers
