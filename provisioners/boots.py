"""Which machines of a listing never come up, told by how long they were seen to boot."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from provisioners.base import Machine


@dataclass(slots=True)
class Boots:
    """Which machines boot, and since when on our `clock` they have been seen to: nobody else's clock is compared.

    One that takes longer than `patience_s` is stuck. `still_boots` tells by what is listed of a machine.
    """

    patience_s: float
    still_boots: Callable[[Machine], bool]
    clock: Callable[[], float] = time.monotonic
    since: dict[str, float] = field(default_factory=dict)

    def judged(self, machine: Machine) -> Machine:
        """The machine, with a problem if it is stuck."""
        if machine.problem or not self.still_boots(machine):
            self.since.pop(machine.provider_id, None)
            return machine
        waited_s = self.clock() - self.since.setdefault(machine.provider_id, self.clock())
        stuck = f"stuck: still {machine.state} after {waited_s:.0f} s" if waited_s > self.patience_s else ""
        return replace(machine, problem=stuck)
