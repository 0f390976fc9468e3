"""The local provider: this host's processor, sold in slots. A machine is a folder and the processes below it."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from planner.catalog import GpuType, Offer
from planner.errors import NoCapacity, ProvisioningError
from planner.gpus import gpu_named
from provisioners.base import LeaseRequest, Listing, Machine
from provisioners.crash import crash_point
from provisioners.local.machines import (
    MachineRecord,
    create_machine,
    machine_folder,
    machine_folders,
    market,
    read_record,
    remove_machine,
)
from provisioners.local.offers import OFFER_ID, SLOT_USD_PER_HOUR, Host, Loopback, slot_offers
from provisioners.local.processes import LEASE_VARIABLE, end_processes, recorded_leftovers
from provisioners.local.transport import LocalTransport, host_environment

ADDRESS = "127.0.0.1"
GRACE_S = 10.0


class LocalProvisioner:
    """Machines below `root`. `slots` and `usd_per_hour` (a slot's notional price) are the host's own unless given.

    `gpu` and `loopback` are what was measured of this host's engines and of KV between them; else what is assumed.

    `grace_s` is how long processes may take to stop by themselves on release.
    """

    provider = "local"
    consistent = True

    def __init__(
        self,
        root: Path,
        *,
        gpu: GpuType | None = None,
        loopback: Loopback | None = None,
        slots: int | None = None,
        usd_per_hour: float = SLOT_USD_PER_HOUR,
        grace_s: float = GRACE_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root = root.resolve()
        self._host = Host.measured(self._root)
        self._gpu = gpu or gpu_named("CPU")
        self._loopback = loopback or Loopback()
        self._slots = self._host.slots if slots is None else slots
        self._usd_per_hour = usd_per_hour
        self._grace_s = grace_s
        self._now = now

    async def offers(self) -> tuple[Offer, ...]:
        taken = len(machine_folders(self._root))
        return slot_offers(
            self._host,
            self._gpu,
            taken=taken,
            slots=self._slots,
            usd_per_hour=self._usd_per_hour,
            loopback=self._loopback,
        )

    async def quote(self, offer_id: str) -> Offer | None:
        return next((offer for offer in await self.offers() if offer.offer_id == offer_id), None)

    async def lease(self, request: LeaseRequest) -> Machine:
        self._check(request)
        lease_id = request.label.lease_id
        record = MachineRecord(str(request.label), request.offer_id, self._usd_per_hour, self._now())
        with market(self._root):
            if not machine_folder(self._root, lease_id).exists():
                taken = len(machine_folders(self._root))
                if taken >= self._slots:
                    raise NoCapacity(f"All {self._slots} slots of this host are taken.", hint="See: thunderctl leases")
                create_machine(self._root, lease_id, record)
        crash_point("C2")
        return self._machine(machine_folder(self._root, lease_id))

    async def observe(self) -> Listing:
        try:
            return Listing(True, tuple(self._machine(folder) for folder in machine_folders(self._root)))
        except OSError as error:
            return Listing(False, reason=f"{self._root} can't be read: {error.strerror}")

    async def release(self, provider_id: str) -> None:
        folder = machine_folder(self._root, provider_id)
        if folder.exists() and read_record(folder) is None:
            raise ProvisioningError(
                f"{folder} holds no machine.json of that lease, so it is not ours to remove.",
                hint="Look into it, and remove it by hand if it is not needed.",
            )
        before = recorded_leftovers(folder)
        await end_processes(folder, grace_s=self._grace_s)
        (before | recorded_leftovers(folder)).remove()
        remove_machine(self._root, provider_id)

    def transport(self, machine: Machine) -> LocalTransport:
        environment = {**host_environment(os.environ), LEASE_VARIABLE: machine.provider_id}
        return LocalTransport(machine_folder(self._root, machine.provider_id), environment)

    def folder(self, machine: Machine) -> str:
        return str(machine_folder(self._root, machine.provider_id))

    def _check(self, request: LeaseRequest) -> None:
        if request.offer_id != OFFER_ID:
            raise NoCapacity(f"This host has no offer {request.offer_id!r}; it sells {OFFER_ID!r}.")
        if request.usd_per_hour < self._usd_per_hour:
            raise NoCapacity(f"A slot costs {self._usd_per_hour} $/h; the request allows {request.usd_per_hour}.")

    def _machine(self, folder: Path) -> Machine:
        record = read_record(folder)
        if record is None:
            return Machine(folder.name, label="", state="unreadable", usd_per_hour=0.0, address=ADDRESS)
        return Machine(folder.name, record.label, "running", record.usd_per_hour, ADDRESS, record.created_at)
