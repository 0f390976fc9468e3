"""How machines are rented from Vast.ai, and the script that they run at boot."""

from dataclasses import dataclass, field

from planner.errors import SpecError
from provisioners.base import AGENT_PORT
from provisioners.rendering import rendered
from provisioners.ssh.rented import RentedHosts
from provisioners.vast.bids import BidPolicy
from provisioners.vast.needs import Needs

URL = "https://console.vast.ai"
IMAGE = "nvidia/cuda:13.0.1-devel-ubuntu24.04"
"""CUDA as vLLM's wheels have it. Not Vast's own image: there SSH is not root's."""
ONSTART_CHARACTERS = 4096
DEADMAN_LOOK_S = 60
LONGEST_S = 1e8
"""No lease is for longer."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How machines are rented. `onstart` is the template of what they run at boot, `deadman` that of their switch.

    One seen to boot for longer than `boot_s` is stuck, and so is one that is away for `away_s`; one that nobody spoke
    to for `deadman_s` destroys itself. `folder` is the instance's: a container is one lease's alone, so all have this.
    `engine_python` is the interpreter with vLLM in `image`; empty: it has none, and gets one.
    """

    onstart: str
    deadman: str
    hosts: RentedHosts
    needs: Needs = field(default_factory=Needs)
    bids: BidPolicy = field(default_factory=BidPolicy)
    image: str = IMAGE
    ports: tuple[int, ...] = (AGENT_PORT,)
    boot_s: float = 1200.0
    away_s: float = 600.0
    deadman_s: float = 7200.0
    folder: str = "/root/thunder/machine"
    engine_python: str = ""
    url: str = URL


def onstart_script(terms: Terms, lifetime_s: float = 0.0) -> str:
    """What a machine runs at boot: it may live for `lifetime_s`, or as long as it was looked for.

    Raises SpecError where it is longer than Vast takes.
    """
    deadman = rendered(
        terms.deadman,
        deadman_s=round(terms.deadman_s),
        lifetime_s=round(lifetime_s or 3600 * terms.needs.max_hours),
        look_s=DEADMAN_LOOK_S,
    )
    script = rendered(
        terms.onstart,
        folder=terms.folder,
        public_key=terms.hosts.public_key.strip(),
        deadman=deadman,
        url=terms.url,
    )
    if len(script) > ONSTART_CHARACTERS:
        raise SpecError(f"The onstart script has {len(script)} characters; expected {ONSTART_CHARACTERS} at most.")
    return script
