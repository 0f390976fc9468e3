"""What agents and router said in one tick."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from runtime.messages import ReplicaAddress, Routes
from thunderctl.controller.situation import Condition, Routing
from thunderctl.observing.observe import InstanceView


@dataclass(frozen=True, slots=True)
class Heard:
    """`addresses` are where the plan's replicas are reached now."""

    views: tuple[InstanceView, ...] = ()
    routes: Routes | None = None
    routing: Routing | None = None
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    addresses: Mapping[str, ReplicaAddress] = field(default_factory=dict)

    @property
    def silent(self) -> frozenset[str]:
        """The leases whose agents did not answer."""
        return frozenset(view.lease.lease_id for view in self.views if view.health is None)

    @property
    def moved(self) -> frozenset[str]:
        """The replicas that are reached elsewhere than the routes say."""
        known = self.routes.replicas if self.routes else ()
        return frozenset(one.id for one in known if self.addresses[one.id].url != one.url)
