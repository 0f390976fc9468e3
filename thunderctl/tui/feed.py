"""What the screen asks of whoever knows the deployment, and nothing more.

The store and the machines themselves (`store_feed.py`), or a controller's API. Every call may take long and may fail
with a ThunderError; none runs where the screen is drawn (`background.py`).
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from thunderctl.tui.decision import Wish
from thunderctl.tui.frame import Document

Show = Callable[[str, list[str]], None]
Say = Callable[[str], None]


class Feed(Protocol):
    async def status(self) -> Document:
        """`thunder.status/v1`, as it is now."""

    async def events(self) -> Sequence[Document]:
        """The latest events as `thunder.events/v1` has them, oldest first."""

    async def series(self, seconds: float) -> Sequence[Document]:
        """The points of `thunder.series/v1` of so long, oldest first."""


class Hands(Protocol):
    """What the screen may have done, and whose logs it may open."""

    async def decide(self, workload: str, wish: Wish, *, dry_run: bool) -> Document:
        """Phases and routes anew, as is wished; `thunder.rebalance/v1`. Raises ThunderError."""

    async def follow(self, names: Sequence[str], show: Show, say: Say) -> None:
        """The logs of these, of all where none is named, until cancelled. Raises ThunderError."""
