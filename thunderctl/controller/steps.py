"""What the controller does, as values: each may be done twice, and says why it is done in words."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias

from provisioners.leases.journal import Cause
from thunderctl.controller.adapting.assessment import Proposal
from thunderctl.fleet.resting import Resting


@dataclass(frozen=True, slots=True)
class Drain:
    """Give the machine of a lease no more requests: it is to be released. `cause`: though it is of use."""

    lease_id: str
    reason: str
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """Make a machine that drains, and is of use, ready again: what it drains for holds no longer."""

    lease_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Resize:
    """Commit which instances of the plan rest from now on: machines then drain, or are leased again, for that."""

    resting: Resting
    reason: str


@dataclass(frozen=True, slots=True)
class Route:
    """Put routes over these replicas in force, and start the router where none runs."""

    replicas: frozenset[str]
    reason: str


@dataclass(frozen=True, slots=True)
class Close:
    """Have the router let no new request in: nothing is left that could serve, and what is under way finishes."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the router: what was under way has ended, or its time is up."""

    reason: str


@dataclass(frozen=True, slots=True)
class Release:
    """Ask the provider to destroy the machine of a lease."""

    lease_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Replace:
    """Have `up` lease what takes the place of the machines of these instances, within the budget, up to `until`
    (seconds since the epoch; None: for as long as the spec says).

    Decided for each by itself; those that are due at once are done as one.
    """

    instances: tuple[str, ...]
    reason: str
    until: float | None = None

    def and_also(self, other: "Replace") -> "Replace":
        """Both as one, up to the earlier end."""
        ends = [one for one in (self.until, other.until) if one is not None]
        reason = f"{self.reason}; {other.reason}"
        return Replace((*self.instances, *other.instances), reason, min(ends, default=None))


@dataclass(frozen=True, slots=True)
class Rebalance:
    """Put other phases and routes in force, which suit what is observed."""

    proposal: Proposal

    @property
    def reason(self) -> str:
        return self.proposal.reason


ControlStep: TypeAlias = Drain | Keep | Resize | Route | Close | Stop | Release | Rebalance | Replace


def together(steps: Iterable[ControlStep]) -> list[ControlStep]:
    """The steps, in which machines that take the place of others are one step, the last."""
    found = list(steps)
    replaced = [step for step in found if isinstance(step, Replace)]
    others = [step for step in found if not isinstance(step, Replace)]
    return [*others, *([reduce(Replace.and_also, replaced)] if replaced else [])]
