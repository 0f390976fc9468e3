"""What workers tell the screen: handlers own what is shown, workers never touch it."""

from collections.abc import Sequence

from textual.message import Message

from planner.errors import ThunderError
from thunderctl.tui.frame import Document


class StatusRead(Message):
    """A status document came."""

    def __init__(self, status: Document) -> None:
        super().__init__()
        self.status = status


class StatusFailed(Message):
    """Reading it failed; what is shown is old."""

    def __init__(self, error: ThunderError) -> None:
        super().__init__()
        self.error = error


class HistoryRead(Message):
    """What happened, oldest first, and the series so far."""

    def __init__(self, events: Sequence[Document], points: Sequence[Document]) -> None:
        super().__init__()
        self.events = events
        self.points = points


class Decided(Message):
    """What a rebalance would change, or what it has changed (`thunder.rebalance/v1`)."""

    def __init__(self, document: Document, *, applied: bool) -> None:
        super().__init__()
        self.document = document
        self.applied = applied


class NotDecided(Message):
    """It was refused, or failed."""

    def __init__(self, error: ThunderError) -> None:
        super().__init__()
        self.error = error


class LogLines(Message):
    """Lines of what is called `name`; with an empty name, what there is to say of the logs."""

    def __init__(self, name: str, lines: Sequence[str]) -> None:
        super().__init__()
        self.name = name
        self.lines = lines
