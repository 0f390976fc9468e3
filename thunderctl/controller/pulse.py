"""Whether replicas can serve, from one look after the other: lost at the second miss, back at the third good look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from planner.deployment import Replica
from runtime.messages import EngineHealth
from thunderctl.controller.situation import Condition, Vital
from thunderctl.logs.lines import in_a_line
from thunderctl.observing.observe import InstanceView

LOST_AFTER = 2
"""Misses in a row, where nobody else has missed it: one packet may be lost."""
BACK_AFTER = 3
"""Good looks in a row: one that comes and goes would cost an epoch each time."""


@dataclass(frozen=True, slots=True)
class Sign:
    """What one look says of a replica: nothing wrong, or what is. `certain` where no second look is needed, `pending`
    where it says nothing yet, as an agent is looked for for the first time."""

    reason: str = ""
    certain: bool = False
    pending: bool = False


@dataclass(slots=True)
class Pulse:
    """Good looks and misses in a row, by replica. It begins anew with each controller, which costs a few ticks."""

    hits: dict[str, int] = field(default_factory=dict)
    misses: dict[str, int] = field(default_factory=dict)

    def felt(self, replica: str, sign: Sign) -> Condition:
        """Count one look, and say what that makes of the replica. One that says nothing yet counts for nothing."""
        if sign.pending:
            return Condition(Vital.UNSURE, sign.reason)
        if not sign.reason:
            self.misses.pop(replica, None)
            self.hits[replica] = self.hits.get(replica, 0) + 1
            steady = self.hits[replica] >= BACK_AFTER
            return Condition(Vital.ALIVE if steady else Vital.UNSURE, "" if steady else "it has come back just now")
        self.hits.pop(replica, None)
        self.misses[replica] = self.misses.get(replica, 0) + 1
        lost = sign.certain or self.misses[replica] >= LOST_AFTER
        return Condition(Vital.LOST if lost else Vital.UNSURE, sign.reason)

    @property
    def missing(self) -> bool:
        """Whether a first miss waits for a second one: then the next look comes soon."""
        return any(count < LOST_AFTER for count in self.misses.values())


def sign_of(replica: Replica, views: Mapping[str, InstanceView], down: Mapping[str, str]) -> Sign:
    """What this look says of a replica.

    `views` are of the plan's instances by id. `down` says why the router has given a replica up: who is missed by both
    the router and the controller is lost at once.
    """
    for name in replica.instances:
        view = views.get(name)
        if view is None:
            return Sign(f"the machine of {name} is gone", certain=True)
        if view.health is None:
            is_down = replica.id in down
            return Sign(f"{name}: {view.problem}", certain=is_down, pending=view.pending and not is_down)
    return _engine_sign(replica, views[replica.instances[0]].engines)


def _engine_sign(replica: Replica, engines: Sequence[EngineHealth]) -> Sign:
    engine = next((one for one in engines if one.replica == replica.id), None)
    if engine is None:
        return Sign("its agent has no such engine", certain=True)
    if engine.state == "ready":
        return Sign()
    said = in_a_line(engine.detail)
    return Sign(f"its engine is {in_a_line(engine.state)}{f': {said}' if said else ''}", certain=True)
