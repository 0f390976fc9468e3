"""A provider with faults, a journal in memory, and a clock that only moves when somebody sleeps."""

from collections import deque
from dataclasses import dataclass, field, replace
from math import inf

from planner.catalog import GpuType, Offer
from planner.deployment import Instance
from planner.errors import NoCapacity, OutcomeUnknown, ProvisioningError, RateLimited
from provisioners.base import Label, LeaseRequest, Listing, Machine
from provisioners.crash import crash_point
from provisioners.leases.acquire import Intent, acquire
from provisioners.leases.journal import LEADS_TO, LeaseRow, LeaseState, stale
from provisioners.leases.observe import Pace
from provisioners.leases.transfers import TransferReading

OWNER = "11111111-1111-4111-8111-111111111111"
SOMEBODY_ELSE = "22222222-2222-4222-8222-222222222222"
GPU = GpuType("CPU", memory_gib=4.0, memory_gb_per_s=8, fp16_tflops=0.02, pcie_gb_per_s=8)
SETTLE_S = 90.0
OURS = {"owner_id": OWNER, "deployment": "d"}


@dataclass
class FakeClock:
    at: float = 1_000_000.0

    def __call__(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds

    def pace(self, patience_s: float | None = 600.0) -> Pace:
        return Pace(SETTLE_S, 5.0, patience_s, clock=self, now=self, sleep=self.sleep)


class MemoryJournal:
    """Keeps rows; `writes` counts commits."""

    def __init__(self) -> None:
        self._rows: dict[str, LeaseRow] = {}
        self.readings: tuple[TransferReading, ...] = ()
        self.writes = 0

    def leases(self, deployment: str | None = None, *, ended_since: float = -inf) -> tuple[LeaseRow, ...]:
        return tuple(
            row
            for row in self._rows.values()
            if deployment in (None, row.deployment) and (row.ended_at is None or row.ended_at >= ended_since)
        )

    def lease(self, lease_id: str) -> LeaseRow | None:
        return self._rows.get(lease_id)

    def add_lease(self, row: LeaseRow) -> None:
        assert row.lease_id not in self._rows
        self._rows[row.lease_id] = row
        self.writes += 1

    def update_lease(self, row: LeaseRow, *, was: LeaseState) -> None:
        stored = self._rows[row.lease_id]
        if stored.state is not was:
            raise stale(row.lease_id, stored.state, was)
        assert row.state is was or row.state in LEADS_TO[was]
        self._rows[row.lease_id] = row
        self.writes += 1

    def transfers(self, deployment: str | None = None) -> tuple[TransferReading, ...]:
        return tuple(one for one in self.readings if deployment in (None, one.deployment))


@dataclass
class FakeCloud:
    """A provider whose next answers can be spoilt, by name, in `lease_faults`, `list_faults` and `release_faults`.

    A machine is listed only `lag_s` after it was made. `touched` names what release was asked for.
    """

    clock: FakeClock
    provider: str = "fake"
    consistent: bool = False
    billed: str = "A"
    usd_per_hour: float = 1.0
    capacity: int = 100
    lag_s: float = 0.0
    machines: dict[str, Machine] = field(default_factory=dict)
    lease_faults: deque[str] = field(default_factory=deque)
    list_faults: deque[str] = field(default_factory=deque)
    release_faults: deque[str] = field(default_factory=deque)
    asked: list[LeaseRequest] = field(default_factory=list)
    touched: list[str] = field(default_factory=list)
    listings: int = 0

    async def offers(self) -> tuple[Offer, ...]:
        left = self.capacity - len(self.machines)
        return (Offer("offer", self.provider, "here", GPU, 1, self.usd_per_hour, available=left),) if left > 0 else ()

    async def quote(self, offer_id: str) -> Offer | None:
        return next((offer for offer in await self.offers() if offer.offer_id == offer_id), None)

    async def lease(self, request: LeaseRequest) -> Machine:
        self.asked.append(request)
        fault = self.lease_faults.popleft() if self.lease_faults else ""
        match fault:
            case "refused":
                raise NoCapacity("The offer was taken.")
            case "429":
                raise RateLimited("API requests too frequent.")
            case "dropped before":
                raise OutcomeUnknown("The connection was reset.")
        if len(self.machines) >= self.capacity:
            raise NoCapacity("Nothing is left.")
        machine = Machine(
            f"m{len(self.asked)}", str(request.label), "running", request.usd_per_hour, "10.0.0.1", self.clock.at
        )
        self.machines[machine.provider_id] = machine
        crash_point("C2")
        match fault:
            case "dropped after":
                raise OutcomeUnknown("504 Gateway Timeout.")
            case "timeout":
                raise TimeoutError("read timed out")
            case "bad":
                return replace(machine, problem="OCI runtime create failed")
        return machine

    async def account(self) -> str:
        if not self.billed:
            raise ProvisioningError("Who is billed can't be asked.")
        return self.billed

    async def observe(self) -> Listing:
        self.listings += 1
        fault = self.list_faults.popleft() if self.list_faults else ""
        seen = tuple(m for m in self.machines.values() if m.created_at + self.lag_s <= self.clock.at)
        match fault:
            case "failed":
                return Listing(False, reason="410 Gone")
        crash_point("C8")
        match fault:
            case "truncated":
                return Listing(False, seen[: len(seen) // 2], reason="page 2 can't be read")
            case "empty":
                return Listing(True)
            case "unreadable":
                return Listing(False, (), reason="3 rows have no id")
        return Listing(True, seen)

    async def release(self, provider_id: str) -> None:
        self.touched.append(provider_id)
        fault = self.release_faults.popleft() if self.release_faults else ""
        if fault == "429":
            raise RateLimited("API requests too frequent.")
        if fault == "500 before":
            raise ProvisioningError("500 before anything was done.")
        self.machines.pop(provider_id, None)
        if fault == "500":
            raise ProvisioningError("500 after it was done.")

    def transport(self, machine: Machine) -> None:
        raise NotImplementedError

    def folder(self, machine: Machine) -> str:
        return "/thunder"

    def put_foreign(self, provider_id: str, label: str) -> None:
        self.machines[provider_id] = Machine(provider_id, label, "running", 5.0, created_at=self.clock.at - 1e6)

    def ours(self) -> dict[str, Machine]:
        """The machines that bear our owner id, by lease id."""
        labels = {machine.provider_id: Label.parse(machine.label) for machine in self.machines.values()}
        return {
            label.lease_id: self.machines[provider_id]
            for provider_id, label in labels.items()
            if label and label.owner_id == OWNER
        }


def instance(name: str = "i0", provider: str = "fake", offer_id: str = "offer", usd_per_hour: float = 1.0) -> Instance:
    return Instance(name, offer_id, provider, "here", "CPU", 1, 4.0, usd_per_hour)


def intent(wanted: Instance | None = None, deployment: str = "d") -> Intent:
    return Intent(OWNER, deployment, "plan", wanted or instance())


async def lease(journal: MemoryJournal, cloud: FakeCloud, name: str = "i0", budget: float = 10.0) -> LeaseRow:
    return await acquire(journal, cloud, intent(instance(name)), budget_usd_per_hour=budget, now=cloud.clock)


def states(journal: MemoryJournal) -> list[LeaseState]:
    return [row.state for row in journal.leases()]
