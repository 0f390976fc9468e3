"""What was done and said before, so that nothing is said twice and what fails is tried again after growing pauses."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from provisioners.leases.journal import LeaseRow
from thunderctl.controller.situation import Alert
from thunderctl.controller.steps import (
    Close,
    ControlStep,
    Drain,
    Keep,
    Rebalance,
    Release,
    Replace,
    Resize,
    Route,
    Stop,
)
from thunderctl.lifecycle import flips_said

PAUSES_S, REPLACE_PAUSES_S = (2.0, 60.0), (120.0, 3600.0)
"""The first pause after a failure, and the longest."""

Key: TypeAlias = tuple[str, str]


@dataclass(slots=True)
class Told:
    """By step: failures in a row and when it may be tried again, and which were announced."""

    _failures: dict[Key, int] = field(default_factory=dict)
    _not_before: dict[Key, float] = field(default_factory=dict)
    _announced: set[Key] = field(default_factory=set)
    _whys: dict[Key, str] = field(default_factory=dict)

    @property
    def failing(self) -> tuple[Alert, ...]:
        """What could not be done and is tried again. Leases that are not released have alerts of their own."""
        return tuple(Alert(f"failing {' '.join(key)}", why) for key, why in self._whys.items())

    def due(self, steps: Iterable[ControlStep], now: float) -> list[ControlStep]:
        """Those that did not just fail."""
        return [step for step in steps if self._not_before.get(_key(step), now) <= now]

    def keep(self, steps: Iterable[ControlStep]) -> None:
        """Forget all but these: what is decided again later is news again. What may be asked twice stays known."""
        wanted = {_key(step) for step in steps}
        self._announced = {key for key in self._announced if key in wanted or key[0] == Release.__name__}
        self._failures = {key: count for key, count in self._failures.items() if key in wanted}
        self._not_before = {key: at for key, at in self._not_before.items() if key in wanted}
        self._whys = {key: why for key, why in self._whys.items() if key in wanted}

    def is_news(self, step: ControlStep) -> bool:
        """True the first time."""
        news = _key(step) not in self._announced
        self._announced.add(_key(step))
        return news

    def failed(self, step: ControlStep, now: float, why: str = "") -> None:
        """`why` is for people; without it there is nothing to be alarmed about."""
        if why and not isinstance(step, Release):
            self._whys[_key(step)] = why
        failures = self._failures.get(_key(step), 0)
        self._failures[_key(step)] = failures + 1
        first, longest = REPLACE_PAUSES_S if isinstance(step, Replace) else PAUSES_S
        self._not_before[_key(step)] = now + min(first * 2.0**failures, longest)

    def done(self, step: ControlStep) -> None:
        self._failures.pop(_key(step), None)
        self._whys.pop(_key(step), None)
        self._not_before.pop(_key(step), None)


def _key(step: ControlStep) -> Key:
    match step:
        case Drain(lease_id) | Release(lease_id) | Keep(lease_id):
            return type(step).__name__, lease_id
        case Resize(resting):
            return "Resize", " ".join(sorted(resting.instances))
        case Route(replicas):
            return "Route", " ".join(sorted(replicas))
        case Close() | Stop():
            return type(step).__name__, ""
        case Rebalance(proposal):
            return "Rebalance", proposal.plan.plan_id
        case Replace(instances):
            return "Replace", " ".join(instances)


def subject_of(step: ControlStep, rows: Sequence[LeaseRow]) -> str:
    """What a step is about, in words: `i1 (vast 123, $0.40/h)`."""
    match step:
        case Drain(lease_id) | Release(lease_id) | Keep(lease_id):
            return next(_lease(row) for row in rows if row.lease_id == lease_id)
        case Resize(resting):
            return f"{', '.join(sorted(resting.instances)) or 'nothing'} at rest"
        case Route(replicas):
            return f"requests to {', '.join(sorted(replicas))}"
        case Close():
            return "the router lets no new request in"
        case Stop():
            return "the router stops"
        case Rebalance(proposal):
            return flips_said(proposal.flips)
        case Replace(instances):
            return f"a machine in the place of {', '.join(instances)}"


def text_of(before: Iterable[LeaseRow], after: Iterable[LeaseRow]) -> Iterator[tuple[str, str]]:
    """What became of leases, as events: a state that changed with its reason, or a price."""
    known = {row.lease_id: row for row in before}
    for row in after:
        old = known.get(row.lease_id)
        if old is None or old == row:
            continue
        if old.state is not row.state:
            reason = f": {row.reason}" if row.reason else ""
            yield f"lease.{row.state}", f"{_lease(row)} was {old.state}, is {row.state}{reason}"
        elif old.usd_per_hour != row.usd_per_hour:
            yield "lease.price", f"{_lease(row)} cost ${old.usd_per_hour:.4g}/h before"


def _lease(row: LeaseRow) -> str:
    return f"{row.instance} ({row.provider} {row.provider_id or row.lease_id}, ${row.usd_per_hour:.4g}/h)"
