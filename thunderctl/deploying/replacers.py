"""Who replaces lost machines now, and of which instances: rows beside the deployment's lock, held for all of the work.

The lock itself is held for changes alone, so these rows are how a controller that is new, and whoever takes the work
over, know of it.
"""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

from planner.errors import Refused
from thunderctl.controller.process import REPLACING
from thunderctl.store.locks import BRIEF_S, Held, Locks
from thunderctl.store.moved import MovedAway
from thunderctl.store.values import Holder

MOST = 4
"""Replacements at a time; each is a process, and brings all up that it was begun for."""


class Holders(Protocol):
    def holder(self, deployment: str) -> Holder | None: ...


def replacers(store: Holders, deployment: str) -> tuple[Holder, ...]:
    """The processes that are at it."""
    found = (store.holder(row) for row in _rows(deployment))
    return tuple(one for one in found if one is not None)


def instances_of(holders: Collection[Holder]) -> frozenset[str]:
    """The instances that they bring up."""
    return frozenset(name for one in holders for name in one.message.removeprefix(f"{REPLACING}: ").split(", "))


@contextmanager
def replacing(store: Locks, deployment: str, instances: Collection[str]) -> Iterator[Held]:
    """Say for the block that these are being brought up. Raises Refused where somebody is at one of them, or too many
    are at work."""
    message = f"{REPLACING}: {', '.join(sorted(instances))}"
    with ExitStack() as stack:
        held = next(filter(None, (_taken(store, row, message, stack) for row in _rows(deployment))), None)
        if held is None:
            raise Refused(f"{MOST} replacements are under way; another one is begun when one of them has ended.")
        others = [
            one for one in replacers(store, deployment) if (one.host, one.pid) != (held.holder.host, held.holder.pid)
        ]
        if twice := instances_of(others) & set(instances):
            raise Refused(f"Of {', '.join(sorted(twice))} the machines are being replaced by another process already.")
        yield held


def _taken(store: Locks, row: str, message: str, stack: ExitStack) -> Held | None:
    try:
        return stack.enter_context(store.lock(row, message, lasts_s=BRIEF_S, waits=False))
    except MovedAway:
        raise
    except Refused:
        return None


def _rows(deployment: str) -> Iterator[str]:
    """With a suffix that no deployment's name can have."""
    return (f"{deployment}#replacing-{number}" for number in range(MOST))
