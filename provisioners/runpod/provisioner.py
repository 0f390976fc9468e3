"""The contract of `provisioners/base.py`, kept on RunPod.

A pod's name is its label. A stopped pod's disk is wiped, so none is ever stopped; it terminates itself when nobody has
renewed it. A create has no limit on the price: one that has moved is seen by the next listing, and counts.
"""

from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from time import time

from planner.catalog import Offer
from planner.errors import NoCapacity, ProvisioningError
from planner.requirements import CUDA_VERSION
from provisioners.base import AGENT_PORT, KeyMarked, LeaseRequest, Listing, Machine
from provisioners.boots import Boots
from provisioners.crash import crash_point
from provisioners.runpod.client import RunPodClient
from provisioners.runpod.offers import COUNTS, OFFER_ID, sold
from provisioners.runpod.pods import listing
from provisioners.ssh.rented import OnRentedHosts, RentedHosts

IMAGE = "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404"
"""Has an SSH server that lets PUBLIC_KEY in as root. vLLM brings its own CUDA; of the host its driver counts."""
FOLDER = "/root/thunder/machine"  # beside it is what instances share, as on all hosts
NAME_CHARACTERS = 191
Clock = Callable[[], float]
Start = Callable[[float], str]
"""From how long a machine may live at most, in seconds (0: as always), to its script."""


class RunPodProvisioner(KeyMarked[RunPodClient], OnRentedHosts):
    """Pods of one account. One seen to boot for `boot_s` is stuck; `start` is the script that one runs at boot."""

    provider = "runpod"
    consistent = False
    _folder = FOLDER

    def __init__(
        self, client: RunPodClient, hosts: RentedHosts, start: Start, *, disk_gb: float, boot_s: float, clock: Clock
    ) -> None:
        self._client, self._hosts, self._start, self._disk_gb = client, hosts, start, disk_gb
        self._boots = Boots(boot_s, lambda machine: machine.ssh is None, clock)
        self.left_out: Counter[str] = Counter()
        """How many GPU types were left out of the last `offers`, by the reason."""

    async def offers(self) -> tuple[Offer, ...]:
        lots = [await self._sold(count) for count in COUNTS]
        self.left_out = Counter[str]()
        for _, left_out in lots:
            self.left_out |= left_out  # the most of a lot: each is of the same types again
        return tuple(offer for found, _ in lots for offer in found)

    async def quote(self, offer_id: str) -> Offer | None:
        known = OFFER_ID.fullmatch(offer_id)
        found = (await self._sold(int(known[1])))[0] if known else ()
        return next((offer for offer in found if offer.offer_id == offer_id), None)

    async def lease(self, request: LeaseRequest) -> Machine:
        known, name = OFFER_ID.fullmatch(request.offer_id), str(request.label)
        if known is None or request.interruptible:
            raise NoCapacity(f"RunPod has no such offer: {request.offer_id!r}, interruptible: {request.interruptible}.")
        if len(name) > NAME_CHARACTERS:
            raise ProvisioningError(f"The label {name!r} has more than the {NAME_CHARACTERS} characters that fit.")
        script = b64encode(self._start(request.lifetime_s).encode()).decode()
        order = {
            "name": name,
            "image": IMAGE,
            "cloud": "SECURE",
            "dataCenterIds": [known[3]],
            "gpu": {"id": known[2], "count": int(known[1]), "minCudaVersion": str(CUDA_VERSION)},
            "disk": round(request.disk_gb or self._disk_gb),
            "ports": ["22/tcp", f"{AGENT_PORT}/tcp"],
            "env": {"PUBLIC_KEY": self._hosts.public_key},
            "args": f"bash -c 'echo {script} | base64 -d | bash'",  # split into words as a shell would
        }
        pod = await self._client.create(order)
        crash_point("C2")
        other = "" if pod.get("name") == name else f"RunPod calls it {pod.get('name')!r}, which is not its label"
        return Machine(pod["id"], name, "PROVISIONING", request.usd_per_hour, created_at=time(), problem=other)

    async def observe(self) -> Listing:
        try:
            found = listing(await self._client.pods())
        except ProvisioningError as error:
            return Listing(False, reason=error.message)
        return replace(found, machines=tuple(map(self._boots.judged, found.machines)))

    async def release(self, provider_id: str) -> None:
        await self._client.terminate(provider_id)
        self._hosts.drop(provider_id)

    async def _sold(self, count: int) -> tuple[tuple[Offer, ...], Counter[str]]:
        return sold(await self._client.gpus(count), count, self._disk_gb)
