"""Rented machines that turned out to be of no use, remembered for hours: a host that lied is the cheapest again."""

import time
from dataclasses import dataclass

from planner.deployment import Instance
from planner.errors import HostLied, HostUnfit, ThunderError
from planner.requirements import OWN
from thunderctl.world import World

EVENT = "machine.useless"
REMEMBERED_S = 6 * 3600.0
"""By then a host may have been mended, and whoever has nothing else to take wants to know."""


@dataclass(frozen=True, slots=True)
class UnfitMachine:
    """By which name it was rented, and which machine it is."""

    provider: str
    offer_id: str
    machine: str


def remember(world: World, instance: Instance, error: ThunderError) -> None:
    """Record that the instance's machine is of no use, where another one is meant by that than the next of its kind.

    One's own are mended rather than avoided, and one that was taken back is as good as it was.
    """
    is_to_blame = isinstance(error, HostLied) or (isinstance(error, HostUnfit) and not instance.interruptible)
    if is_to_blame and instance.machine and instance.provider not in OWN:
        world.store.record(
            world.name,
            EVENT,
            f"{instance.id} ({instance.offer_id} of {instance.provider}): {error.first_line}",
            provider=instance.provider,
            offer_id=instance.offer_id,
            machine=instance.machine,
        )


def unfit_machines(world: World) -> tuple[UnfitMachine, ...]:
    """Those of the last hours."""
    found = world.store.events_since(world.name, EVENT, time.time() - REMEMBERED_S)
    return tuple(UnfitMachine(**one.detail) for one in found)
