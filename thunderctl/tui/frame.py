"""`Frame`: all that the screen shows at one moment, and what becomes of it when something is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from thunderctl.logs.lines import UNPRINTABLE

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Frame:
    """What was read last, and of when. `now` is seconds since the epoch; `failed` says why it can't be read again."""

    now: float
    status: Document | None = None
    events: Sequence[Document] = ()
    points: Sequence[Document] = ()
    read_at: float | None = None
    failed: str = ""
    failed_since: float | None = None
    wanted: str = ""
    """What rows have to hold, if anything is asked for."""

    def at(self, now: float) -> Self:
        return replace(self, now=now)

    def read(self, status: Document, now: float) -> Self:
        return replace(self, status=cleaned(status), read_at=now, now=now, failed="", failed_since=None)

    def not_read(self, why: str, now: float) -> Self:
        """The last frame stays; that it is old is counted from the first failure."""
        since = now if self.failed_since is None else self.failed_since
        return replace(self, failed=cleaned(why), failed_since=since, now=now)

    def happened(self, events: Sequence[Document], points: Sequence[Document]) -> Self:
        return replace(self, events=cleaned(events), points=points)

    def filtered(self, wanted: str) -> Self:
        return replace(self, wanted=wanted.strip().lower())

    @property
    def state(self) -> str:
        return str(self.status["state"]) if self.status else ""

    def lists(self, key: str) -> Sequence[Document]:
        """A list of the status document; empty where there is none, or an older version made the document."""
        return (self.status or {}).get(key) or ()

    def part(self, key: str) -> Document:
        """An object of the status document, likewise."""
        return (self.status or {}).get(key) or {}

    def holds(self, *words: object) -> bool:
        """Whether a row with these words is asked for."""
        return not self.wanted or any(self.wanted in str(word).lower() for word in words)


def cleaned(value: Any) -> Any:
    """Without orders to the terminal: what providers and engines say is shown on somebody else's."""
    if isinstance(value, str):
        return UNPRINTABLE.sub("", value.replace("\n", " "))
    if isinstance(value, Mapping):
        return {key: cleaned(one) for key, one in value.items()}
    return [cleaned(one) for one in value] if isinstance(value, list | tuple) else value
