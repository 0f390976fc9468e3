"""`Source`: what the API tells of a deployment, whoever finds that out. The controller's own is `lookout.Lookout`.

Documents are ready to be sent as JSON. Every call raises ThunderError where it can't be answered now, and says why.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Document = dict[str, Any]


class Source(Protocol):
    async def status(self) -> Document:
        """`thunder.status/v1`, as `thunderctl status --json` prints it; a second old at most, or two ticks."""
        ...

    async def plan(self, plan_id: str = "") -> Document:
        """`thunder.plan/v1`: the plan in force or on the way, or one of the deployment's. Raises SpecError."""
        ...

    async def leases(self) -> Document:
        """`thunder.leases/v1`, money included."""
        ...

    async def events(
        self, *, after_id: int | None = None, since: float = 0.0, kinds: Sequence[str] = (), limit: int = 100
    ) -> Document:
        """`thunder.events/v1`, oldest first, each with its `id`: the latest, or the first after that id."""
        ...

    async def history(self) -> Document:
        """`thunder.history/v1`: the deployment's plans, newest first."""
        ...

    def series(self, seconds: float) -> Document:
        """`thunder.series/v1`: what was measured in the last seconds, a point every few of them."""
        ...

    async def record(self, message: str, detail: Mapping[str, Any]) -> None:
        """Write an `audit` event. Raises ThunderError where the store can't: then nothing is to be done either."""
        ...

    async def who_works(self) -> str:
        """Which command holds the deployment's lock, since when and what for; empty where none does."""
        ...
