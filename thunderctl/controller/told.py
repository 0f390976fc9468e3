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
from thunderctl.deploying.lifecycle import flips_said

PAUSES_S, REPLACE_PAUSES_S = (2.0, 60.0), (120.0, 3600.0)
"""The first pause after a failure, and the longest."""
MOST_DOUBLED = 30
"""The longest pause has come by then, and a float would end, at 1,024."""
FADES_S = 1800.0
"""So long nothing has to be put in an instance's place before the tries for it are forgotten: it may be away for a
moment only because a listing can't be trusted, or because another one went as well."""

Key: TypeAlias = tuple[str, str]


@dataclass(slots=True)
class Told:
    """By step: failures in a row and when it may be tried again, and which were announced. Of machines that take the
    place of others that is kept by instance, beyond looks in which they are not asked for."""

    _failures: dict[Key, int] = field(default_factory=dict)
    _not_before: dict[Key, float] = field(default_factory=dict)
    _replaced_at: dict[Key, float] = field(default_factory=dict)
    _announced: set[Key] = field(default_factory=set)
    _whys: dict[Key, str] = field(default_factory=dict)

    @property
    def failing(self) -> tuple[Alert, ...]:
        """What could not be done and is tried again. Leases that are not released have alerts of their own."""
        return tuple(Alert(f"failing {' '.join(key)}", why) for key, why in self._whys.items())

    def due(self, steps: Iterable[ControlStep], now: float) -> list[ControlStep]:
        """Those that did not just fail; one that did for some of its instances and not for others is due."""
        return [step for step in steps if any(self._not_before.get(key, now) <= now for key in _tried(step))]

    def keep(self, steps: Sequence[ControlStep], now: float) -> None:
        """Forget all but these: what is decided again later is news again. What may be asked twice stays known."""
        wanted = {key for step in steps for key in _keys(step)}
        self._announced = {key for key in self._announced if key in wanted or key[0] == Release.__name__}
        self._whys = {key: why for key, why in self._whys.items() if key in wanted}
        self._replaced_at |= {key: now for step in steps if isinstance(step, Replace) for key in _tried(step)}
        self._replaced_at = {key: at for key, at in self._replaced_at.items() if not self._fades(key, at, now)}
        paced = wanted | self._replaced_at.keys()
        self._failures = {key: count for key, count in self._failures.items() if key in paced}
        self._not_before = {key: at for key, at in self._not_before.items() if key in paced}

    def _fades(self, key: Key, at: float, now: float) -> bool:
        return now - at > FADES_S and self._not_before.get(key, now) <= now

    def is_news(self, step: ControlStep) -> bool:
        """True the first time."""
        keys = set(_keys(step))
        news = not keys <= self._announced
        self._announced |= keys
        return news

    def failed(self, step: ControlStep, now: float, why: str = "") -> None:
        """`why` is for people; without it there is nothing to be alarmed about."""
        self._forget_why(step)
        if why and not isinstance(step, Release):
            self._whys[_keys(step)[0]] = why
        first, longest = REPLACE_PAUSES_S if isinstance(step, Replace) else PAUSES_S
        for key in _tried(step):
            failures = self._failures.get(key, 0)
            self._failures[key] = failures + 1
            self._not_before[key] = now + min(first * 2.0 ** min(failures, MOST_DOUBLED), longest)

    def wait(self, step: ControlStep, until: float, why: str) -> None:
        """Have it not be due before then."""
        self._whys[_keys(step)[0]] = why
        self._not_before |= dict.fromkeys(_tried(step), until)

    def _forget_why(self, step: ControlStep) -> None:
        for key in _keys(step):
            self._whys.pop(key, None)

    def done(self, step: ControlStep) -> None:
        self._forget_why(step)
        for key in _tried(step):
            self._failures.pop(key, None)
            self._not_before.pop(key, None)


def _tried(step: ControlStep) -> tuple[Key, ...]:
    """What failures are counted by."""
    if isinstance(step, Replace):
        return tuple(("instance", name) for name in step.instances)
    return _keys(step)


def _keys(step: ControlStep) -> tuple[Key, ...]:
    """What is said of a step is known by; of one for several instances, by each."""
    if isinstance(step, Replace):
        return tuple(("Replace", name) for name in step.instances)
    return (_key(step),)


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
