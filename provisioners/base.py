"""What the control plane asks of a provider, and nothing more.

Any process may die between any two lines, so every call is safe to repeat, and one is never repeated:

* `lease` asks once. No layer below it may try again (SDKs included): a create whose answer was lost is not known to
  have failed. An answer that names a machine is returned, even one that says the create failed (`Machine.problem`),
  because that machine bills. A clear no raises NoCapacity, RateLimited, AuthError or another ProvisioningError, and
  promises that nothing was created. Everything else is OutcomeUnknown, and is resolved by listing.
* `observe` never guesses. `complete` means that every page was read and every row's id and label understood; a
  listing that failed or can't be trusted is returned as incomplete, with the reason, and proves nothing about what it
  lacks. Machines that the provider calls terminated are left out: they no longer bill. Stopped ones are listed.
* `release` of a machine that is gone succeeds. It returns once the provider has taken the request; only `observe`
  proves that the machine is gone.
* A provider is asked for one machine a call, by a label that no other attempt has ever borne.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from planner.catalog import Offer
    from provisioners.transport import Transport

LABEL_PREFIX = "thunder"


@dataclass(frozen=True, slots=True)
class Label:
    """Who a machine belongs to, as written on the machine itself: `thunder:<owner>:<deployment>:<lease>`."""

    owner_id: str
    deployment: str
    lease_id: str

    def __post_init__(self) -> None:
        for part in (self.owner_id, self.deployment, self.lease_id):
            if not part or ":" in part:
                raise ValueError(f"A label can't hold {part!r}; expected text without a colon.")

    def __str__(self) -> str:
        return ":".join((LABEL_PREFIX, self.owner_id, self.deployment, self.lease_id))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The label that `text` is, or None: then the machine is not one of thunderctl's."""
        parts = text.split(":")
        if len(parts) != 4 or parts[0] != LABEL_PREFIX or not all(parts):
            return None
        return cls(*parts[1:])


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """One ask for one machine, at no more than `usd_per_hour`. The label is the attempt's own: it is the token too."""

    label: Label
    offer_id: str
    usd_per_hour: float
    interruptible: bool = False
    disk_gb: float = 0.0


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as its provider lists it.

    `state` is the provider's own word, an open set. `address` is the host under which agents reach it, empty until it
    is known; `dialled` is false where they can't (NAT, a firewall): its agent then dials theirs. `created_at` is in
    seconds since the epoch. `problem` says why it will never be of use: it bills all the same, and is released at once.
    `ports` maps ports on the machine to those of its address where they differ, `ssh` is host and port for SSH where
    that is not port 22 of the address; both are known once it has booted. `engine_python` is the interpreter there that
    has vLLM, where its provider knows.
    """

    provider_id: str
    label: str
    state: str
    usd_per_hour: float
    address: str = ""
    created_at: float = 0.0
    problem: str = ""
    dialled: bool = True
    ports: Mapping[int, int] = field(default_factory=dict)
    ssh: tuple[str, int] | None = None
    engine_python: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """Every machine the account has, whoever's it is; `reason` says why it is not complete."""

    complete: bool
    machines: tuple[Machine, ...] = ()
    reason: str = ""


class Provisioner(Protocol):
    """Our code for one provider.

    `consistent`: its listing shows a machine from the moment it exists until it is gone, so that absence needs no time
    to settle. No cloud promises that.
    """

    provider: str
    consistent: bool

    async def offers(self) -> "tuple[Offer, ...]":
        """What it sells now. Raises ProvisioningError when it can't be asked."""

    async def quote(self, offer_id: str) -> "Offer | None":
        """That offer as it stands now; None once it is taken."""

    async def lease(self, request: LeaseRequest) -> Machine:
        """Ask once for a machine with this label."""

    async def observe(self) -> Listing:
        """List every machine. Does not raise for what the provider does: such a listing is incomplete."""

    async def release(self, provider_id: str) -> None:
        """Ask that it be destroyed, never only stopped. Raises ProvisioningError if the ask was not taken."""

    def transport(self, machine: Machine) -> "Transport":
        """How to run commands and move files there, below `folder(machine)`."""

    def folder(self, machine: Machine) -> str:
        """The instance's folder on that machine, an absolute path."""
