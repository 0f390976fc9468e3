"""What the control plane asks of a provider, and nothing more.

Any process may die between any two lines, so every call is safe to repeat, and one is never repeated:

* `lease` asks once. No layer below it may try again (SDKs included): a create whose answer was lost is not known to
  have failed. An answer that names a machine is returned, even one that says the create failed (`Machine.problem`),
  because that machine bills. A clear no raises NoCapacity, RateLimited, AuthError or another ProvisioningError, and
  promises that nothing was created. Everything else is OutcomeUnknown, and is resolved by listing.
* `observe` never guesses. `complete` means that every page was read and every row's id and label understood; a
  listing that failed or can't be trusted is returned as incomplete, with the reason, and proves nothing about what it
  lacks. Machines that the provider calls terminated no longer bill: they are `ended`, by id, and not among the
  machines. Stopped ones are listed.
* `release` of a machine that is gone succeeds. It returns once the provider has taken the request; only `observe`
  proves that the machine is gone.
* A provider is asked for one machine a call, by a label that no other attempt has ever borne.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from planner.catalog import Offer
    from provisioners.ssh.shell import SshShell
    from provisioners.ssh.transport import SshTransport
    from provisioners.transport import Transport

LABEL_PREFIX = "thunder"
AGENT_PORT = 8443
"""Where an agent listens on a machine that only certain ports lead into: `Machine.ports` says from where."""


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
    """One ask for one machine, at no more than `usd_per_hour`. The label is the attempt's own: it is the token too.

    `lifetime_s` is how long the machine may live at most, for its own switch to hold it to; 0: as its provider's terms.
    `group` names the machines that are to stand close to each other, as those of one replica must; empty: none.
    """

    label: Label
    offer_id: str
    usd_per_hour: float
    interruptible: bool = False
    disk_gb: float = 0.0
    lifetime_s: float = 0.0
    group: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as its provider lists it.

    `state` is the provider's own word, an open set. `address` is the host under which agents reach it, empty until it
    is known; `dialled` is false where they can't (NAT, a firewall): its agent then dials theirs. `created_at` is in
    seconds since the epoch. `problem` says why it will never be of use: it bills all the same, and is released at once.
    `trouble` says what is wrong that may pass (its host is offline, the agent's port is not mapped): until it has, one
    that is new is not booted.
    `ends_at` is when its host ends it whatever is paid (seconds since the epoch), where its provider says.
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
    trouble: str = ""
    ends_at: float | None = None


def not_mapped(ports: Mapping[int, object]) -> str:
    """The trouble of a machine that only mapped ports lead into, and that runs without the agent's among them."""
    return "" if AGENT_PORT in ports else f"its port {AGENT_PORT} is not mapped"


@dataclass(frozen=True, slots=True)
class Listing:
    """Every machine the account has, whoever's it is; `reason` says why it is not complete.

    `ended` are the ids of those that the provider still names, as terminated: that is proof by itself.
    """

    complete: bool
    machines: tuple[Machine, ...] = ()
    reason: str = ""
    ended: frozenset[str] = frozenset()

    @property
    def shows_something(self) -> bool:
        """Whether it is not empty: an endpoint that was withdrawn answers with nothing at all."""
        return bool(self.machines or self.ended)


@dataclass(frozen=True, slots=True)
class PriceRise:
    """What a machine's GPUs are going to cost, $/h, from `at` (seconds since the epoch; 0 where nobody says)."""

    provider_id: str
    before_usd_per_hour: float
    after_usd_per_hour: float
    at: float = 0.0


@runtime_checkable
class Announces(Protocol):
    """A provider whose machines may get dearer while they run, and that says so ahead."""

    async def price_rises(self) -> tuple[PriceRise, ...]:
        """Those of every machine of the account. Raises ProvisioningError. Cheap to ask often: it may be remembered."""


@runtime_checkable
class Guarded(Protocol):
    """A provider whose machines are reached by nobody who is not let in."""

    async def let_in(self, owner_id: str, deployment: str, fleet: Collection[str]) -> None:
        """Let exactly these addresses of the fleet reach the deployment's agents, beside the operator's.

        Safe to repeat. Raises ProvisioningError.
        """

    async def let_operator_in(self, owner_id: str, deployment: str) -> None:
        """Let this host reach the deployment's machines under the address that it has by now; nobody is kept out.

        Safe to repeat. Raises ProvisioningError.
        """


@runtime_checkable
class Accounted(Protocol):
    """A provider that bills an account, which the key at hand may be of or not: another's list proves nothing."""

    async def account(self) -> str:
        """Which account the key is of. Raises ProvisioningError. Cheap to ask often: it is remembered.

        Where the provider does not say, a mark of the key itself (`key_mark`).
        """


@runtime_checkable
class Remembers(Protocol):
    """A provider that keeps on this machine where each lease was asked for, and looks there until it is forgotten."""

    def forget(self, lease_id: str) -> None:
        """Look for it no more: the lease has ended. Safe to repeat."""


@runtime_checkable
class LogsIn(Protocol):
    """A provider whose machines people log in to by SSH."""

    def shell(self, machine: Machine) -> "SshShell":
        """How. Raises HostError until the provider has said where SSH reaches the machine."""

    def transport(self, machine: Machine) -> "SshTransport":
        """As every provider's. People come after its `reach`: the host's key is pinned then, and ours let in."""

    def close(self) -> None:
        """End the connections to machines."""


def key_mark(api_key: str) -> str:
    """What stands for a key's account where its provider names none: another key of the account has another mark."""
    return f"key {sha256(api_key.encode()).hexdigest()[:12]}"


class Keyed(Protocol):
    """A provider's client."""

    api_key: str


KeyedClient = TypeVar("KeyedClient", bound=Keyed)


class KeyMarked(Generic[KeyedClient]):
    """`Accounted` for a provider that can't be asked for the account: its client's key stands for that."""

    _client: KeyedClient

    async def account(self) -> str:
        return key_mark(self._client.api_key)


async def account_of(provisioner: "Provisioner") -> str:
    """The account that it bills; empty where there is none, as on one's own hosts. Raises ProvisioningError."""
    return await provisioner.account() if isinstance(provisioner, Accounted) else ""


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
