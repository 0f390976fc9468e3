"""What was changed before, as the store's events tell it: by the controller, by commands, after a loss."""

from thunderctl.controller.adapting.drift import Change
from thunderctl.deploying.lifecycle import REBALANCED
from thunderctl.history import IN_FORCE
from thunderctl.store.values import Event
from thunderctl.world import World

REROUTED = "controller.route.done"
KNOWN_S = 24 * 3600.0


def changes_of(world: World, at: float) -> tuple[Change, ...]:
    """Of the last day, oldest first; of routes over what is left, and of other plans, only when the last was."""
    rebalanced = [_change(one) for one in world.store.events_since(world.name, REBALANCED, at - KNOWN_S)]
    others = [world.store.last_event_at(world.name, kind) for kind in (IN_FORCE, REROUTED)]
    return tuple(sorted([*rebalanced, *(Change(when) for when in others if when)], key=lambda one: one.at))


def _change(event: Event) -> Change:
    flips = event.detail.get("flips") or ()
    return Change(event.at, {name: (before, after) for name, before, after in flips})
