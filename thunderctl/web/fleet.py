"""What of a fleet the page shows: all of a small one; of a large one crowds, and whom to look at first. Pure.

However large it is, the page has so many rows at most, and a browser draws it as quickly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thunderctl.fleet.attention import LOOK_AT, first_to_look_at, machine_needs_a_look, narrowed
from thunderctl.fleet.crowds import MOST_ALONE, crowds_of, is_crowded, machine_crowds
from thunderctl.web.topology import Topology, topology_of

LISTED_ROUTES = 40
SHOWN_ALERTS, LISTED_ALERTS = 5, 40
"""At once, and with those that are a click away."""

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fleet:
    """`more_…`: how many there are beside those that are shown. `look_at` and `machine_crowds` are of large fleets.
    `drained` are machines that are ready and serve nothing."""

    topology: Topology
    replicas: int
    is_crowded: bool
    look_at: Sequence[Document]
    routes: Sequence[Document]
    more_routes: int
    machine_crowds: Sequence[Document]
    machines: Sequence[Document]
    awaited: Sequence[Document]
    drained: frozenset[str]
    more_machines: int
    alerts: Sequence[str]
    alerts_behind: Sequence[str]
    more_alerts: int
    can_be_narrowed: bool

    @property
    def more_replicas(self) -> int:
        return self.replicas - len(self.look_at) if self.is_crowded else 0


def fleet_of(status: Document, only: str = "") -> Fleet:
    """Of a status document, of what in it holds `only`."""
    shown = narrowed(status, only)
    replicas, crowded = shown.get("replicas") or (), is_crowded(shown)
    routes = sorted(shown.get("routes") or (), key=lambda one: -float(one["share"]))
    machines, awaited = list(shown.get("instances") or ()), list(shown.get("awaited") or ())
    many = len(machines) + len(awaited) > MOST_ALONE
    listed = _to_look_at(machines) if many else machines
    still = awaited[: LOOK_AT - len(listed)] if many else awaited
    alerts = [str(one) for one in status.get("alerts") or ()]
    return Fleet(
        topology=topology_of(crowds_of(shown) if crowded else shown),
        replicas=len(replicas),
        is_crowded=crowded,
        look_at=first_to_look_at(replicas) if crowded else (),
        routes=routes[:LISTED_ROUTES],
        more_routes=max(0, len(routes) - LISTED_ROUTES),
        machine_crowds=machine_crowds([*machines, *awaited]) if many else (),
        machines=listed,
        awaited=still,
        drained=_drained(status),
        more_machines=len(machines) + len(awaited) - len(listed) - len(still),
        alerts=alerts[:SHOWN_ALERTS],
        alerts_behind=alerts[SHOWN_ALERTS:LISTED_ALERTS],
        more_alerts=max(0, len(alerts) - LISTED_ALERTS),
        can_be_narrowed=bool(only) or len(status.get("replicas") or ()) > MOST_ALONE,
    )


def _to_look_at(machines: Sequence[Document]) -> list[Document]:
    """Those in trouble; so many at most."""
    return [one for one in machines if machine_needs_a_look(one)][:LOOK_AT]


def _drained(status: Document) -> frozenset[str]:
    """While nothing is routed yet, machines without replicas are to get theirs."""
    serves = {name for one in status.get("replicas") or () for name in one.get("instances") or ()}
    ready = {str(one["id"]) for one in status.get("instances") or () if one["state"] == "ready"}
    return frozenset(ready - serves) if serves else frozenset()
