"""What the scheduler's side of the connector asks its workers to do in a step."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.tiles.format import KvFormat


@dataclass(frozen=True, slots=True)
class Save:
    """Encode a finished request's blocks into the pool, where the ticket's bytes were reserved.

    `boot` names the agent that did: offsets mean nothing to another.
    """

    request_id: str
    ticket: str
    format: "KvFormat"
    block_ids: tuple[int, ...]
    offset: int
    boot: str


@dataclass(frozen=True, slots=True)
class Load:
    """Fill a waiting request's blocks from the tiles of a ticket, from token `first_token` on."""

    request_id: str
    ticket: dict[str, Any]
    format: "KvFormat"
    block_ids: tuple[int, ...]
    first_token: int


@dataclass(slots=True)
class Step:
    """All of a step's work. `waits`: a request waits for nothing but its turn to be computed."""

    saves: list[Save] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    waits: bool = False
