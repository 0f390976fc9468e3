"""The epoch in force and its file, written before it is obeyed: a restarted router goes on with the last plan."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from planner.errors import Refused, SpecError
from runtime.files import write_json
from runtime.messages import ReplicaAddress, Routes
from runtime.router.choosing.bypass import TokensPerByte
from runtime.router.choosing.load import Load
from runtime.router.choosing.policy import RoutePolicy

log = logging.getLogger(__name__)


def same_place(one: ReplicaAddress, other: ReplicaAddress) -> bool:
    """Whether two plans mean the same replica, at the same address, whatever they have it do."""
    return (one.id, one.url, one.server_name) == (other.id, other.url, other.server_name)


@dataclass(slots=True)
class Epoch:
    """One plan's routes in use. A request keeps the epoch it arrived in; `in_flight` counts those.

    The `load`, what was learned of tokens, and what is known of replicas that stay outlive it.
    """

    routes: Routes
    policy: RoutePolicy
    replicas: Mapping[str, ReplicaAddress]
    load: Load
    in_flight: int = 0

    @classmethod
    def of(cls, routes: Routes, load: Load | None = None, tokens: TokensPerByte | None = None) -> "Epoch":
        load = load or Load()
        return cls(routes, RoutePolicy(routes, load, tokens), {one.id: one for one in routes.replicas}, load)

    @property
    def number(self) -> int:
        return self.routes.epoch


@dataclass(slots=True)
class RouteTable:
    """Holds the epoch in force. `check` may refuse routes (with SpecError) before they are.

    `listeners` hear when another is.
    """

    path: Path
    check: Callable[[Routes], None]
    load: Load = field(init=False, default_factory=Load)
    tokens: TokensPerByte = field(init=False, default_factory=TokensPerByte)
    listeners: list[Callable[[], None]] = field(init=False, default_factory=list)
    current: Epoch = field(init=False)
    _older: list[Epoch] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.current = self._epoch(self._read())

    def reload(self) -> None:
        """Obey the file again. Raises SpecError or Refused, and then the epoch in force stays."""
        self._enforce(self._read())

    def replace(self, document: Mapping[str, Any]) -> None:
        """Write new routes to the file and obey them. Raises SpecError, or Refused for an epoch that is over."""
        routes = Routes.from_json(document)
        self.check(routes)
        self._refuse_older(routes)
        write_json(self.path, routes.to_json())
        self._enforce(routes)

    def in_flight(self) -> dict[int, int]:
        """Requests under way, by the epoch they arrived in."""
        self._older = [epoch for epoch in self._older if epoch.in_flight]
        counts: dict[int, int] = {}
        for epoch in (*self._older, self.current):
            counts[epoch.number] = counts.get(epoch.number, 0) + epoch.in_flight
        return counts

    def addresses(self) -> Iterator[ReplicaAddress]:
        """Where requests go, or may: those of the epoch in force, and of older ones that have any under way."""
        for epoch in (*self._older, self.current):
            if epoch.in_flight or epoch is self.current:
                yield from epoch.replicas.values()

    def watched(self) -> dict[str, ReplicaAddress]:
        """The same, by the names of their health."""
        return {self.health_name(replica): replica for replica in self.addresses()}

    def health_name(self, replica: ReplicaAddress) -> str:
        """Under which name it is known whether it is up: its id, as policies know it.

        What an older epoch has at another address than the one in force has a name of its own.
        """
        there = self.current.replicas.get(replica.id)
        return replica.id if there is None or same_place(there, replica) else f"{replica.id} at {replica.url}"

    def _read(self) -> Routes:
        try:
            document = json.loads(self.path.read_bytes())
        except OSError as error:
            raise SpecError(f"The routes file {self.path} can't be read: {error.strerror}.") from error
        except ValueError as error:
            raise SpecError(f"The routes file {self.path} is not JSON: {error}.") from error
        if not isinstance(document, dict):
            raise SpecError(f"The routes file {self.path} holds no JSON object.")
        routes = Routes.from_json(document)
        self.check(routes)
        return routes

    def _epoch(self, routes: Routes) -> Epoch:
        return Epoch.of(routes, self.load, self.tokens)

    def _enforce(self, routes: Routes) -> None:
        self._refuse_older(routes)
        if routes == self.current.routes:
            return
        before, self.current = self.current, self._epoch(routes)
        self.current.policy.inherit(before.policy)
        self._older = [epoch for epoch in (*self._older, before) if epoch.in_flight]
        log.info("epoch %d is in force: %d replicas, %d routes", routes.epoch, len(routes.replicas), len(routes.routes))
        for told in self.listeners:
            told()

    def _refuse_older(self, routes: Routes) -> None:
        if routes.epoch < self.current.number:
            raise Refused(f"Routes of epoch {routes.epoch} came after epoch {self.current.number}, which is in force.")
