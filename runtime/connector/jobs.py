"""What the scheduler's side of the connector asks its workers to do in a step."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.tiles.format import KvFormat


@dataclass(frozen=True, slots=True)
class Share:
    """What a rank owns of the model's KV: ranges of layers and KV heads. Of ranks that share a head one `writes`."""

    layers: tuple[int, int]
    heads: tuple[int, int]
    writes: bool = True


@dataclass(frozen=True, slots=True)
class Save:
    """Encode a range of a prompt's groups into the pool, where the ticket's bytes were reserved.

    They lie in `block_ids`, of which the first begins with `first_token`, when the step is over; where `by_layer` they
    are taken layer by layer, as each is computed. `boot` names the agent that reserved: another's offsets differ.
    """

    ticket: str
    format: "KvFormat"
    groups: tuple[int, int]
    block_ids: tuple[int, ...]
    first_token: int
    offset: int
    boot: str
    by_layer: bool = False

    @property
    def last(self) -> bool:
        return self.groups[1] == self.format.groups


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
    """All of a step's work. `waits`: a request waits for nothing but its turn to be computed.

    `abandoned` are tickets of which no rank writes any more.
    """

    saves: list[Save] = field(default_factory=list)
    abandoned: list[str] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    waits: bool = False
