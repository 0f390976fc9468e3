"""Service as a fluid: what flows into replicas by the routes' shares, what they let through, and what waits.

A replica that gets less than it can serve within the targets attains what simulated runs found at that part of its
rate. One that gets more keeps what it can't serve waiting, and from the moment that the wait is longer than the slack
of the target, whoever comes is late. A backlog is bounded: who waits for a minute goes away.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from planner.demand import Floats

LONGEST_WAIT_S = 60.0
SLACK = 0.5
"""Part of the target for TTFT that a request may wait, beyond what it waits in a fleet that keeps up."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Attainment at parts of the rate that the planner's capacities say, by simulated runs of a part of the fleet.

    `knee` is the part at which it falls below the target: what replicas serve is scaled by it.
    """

    parts: Floats
    attained: Floats
    knee: float

    def at(self, part: Floats) -> Floats:
        """Of what keeps up."""
        return np.asarray(np.interp(np.minimum(part, 1.0) * self.knee, self.parts, self.attained))


@dataclass(slots=True)
class Fluid:
    """Backlogs by replica, in requests."""

    curve: Curve
    ttft_s: float
    backlog: dict[str, float] = field(default_factory=dict)

    def attained(
        self, shares: Sequence[tuple[str, str, float]], rps: dict[str, float], rate_rps: float, seconds: float
    ) -> float:
        """The share of the requests of an interval within their targets.

        `shares` are (prefills, decodes, part of the requests), `rps` what each replica serves within the targets by the
        planner. A share over a replica that serves nothing goes to the others, as the router has it.
        """
        alive = [one for one in shares if rps.get(one[0], 0.0) > 0 and rps.get(one[1], 0.0) > 0]
        whole = sum(share for *_, share in alive)
        self.backlog = {name: left for name, left in self.backlog.items() if name in rps}
        if whole <= 0:
            return 0.0
        inflow: dict[str, float] = {}
        for prefill, decode, share in alive:
            for end in {prefill, decode}:
                inflow[end] = inflow.get(end, 0.0) + rate_rps * share / whole
        names = list(inflow)
        served = np.array([rps[name] * self.curve.knee for name in names])
        found = self._through(names, np.array([inflow[name] for name in names]), served, seconds)
        met = dict(zip(names, found.tolist(), strict=True))
        return sum(share / whole * min(met[a], met[b]) for a, b, share in alive)

    def _through(self, names: list[str], inflow: Floats, served: Floats, seconds: float) -> Floats:
        before = np.array([self.backlog.get(name, 0.0) for name in names])
        after = before + (inflow - served) * seconds
        for name, left in zip(names, np.clip(after, 0.0, served * LONGEST_WAIT_S).tolist(), strict=True):
            self.backlog[name] = left
        return in_time(before / served, after / served, SLACK * self.ttft_s) * self.curve.at(inflow / served)


def in_time(before_s: Floats, after_s: Floats, slack_s: float) -> Floats:
    """The part of an interval in which a wait that goes evenly from one length to another is within the slack.

    Below 0 nobody waits: who has room to spare is through with a backlog before the end.
    """
    low, high = np.minimum(before_s, after_s), np.maximum(before_s, after_s)
    span = np.maximum(high - low, 1e-9)
    return np.clip((slack_s - low) / span, 0.0, 1.0)
