"""A ticket as it travels, where its tiles are served, and why it may be of no use. Reading one believes nothing."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from planner.deployment import Codec
from planner.errors import KvTransferError
from runtime.messages import AGENT_SUFFIX
from runtime.tiles.format import KvFormat
from runtime.tiles.frame import TAG_BYTES
from runtime.tiles.geometry import Geometry
from runtime.tiles.layout import Layout

TICKET_VERSION = 1
TICKET_TTL_S = 60.0
"""How long a ticket lives that nobody encodes, reads or renews, where an agent is not told otherwise."""


class UnknownTicket(KvTransferError):
    """It was never made here, or it is gone: acknowledged, dropped or expired."""


class WrongCapability(KvTransferError):
    """The caller does not hold the ticket it names."""


class WrongBinding(KvTransferError):
    """The ticket is over another model or other tokens than its reader takes it for."""


class TicketFailed(KvTransferError):
    """A rank of the prefill engine could not encode its share."""


class NotReady(KvTransferError):
    """The tiles were not encoded in time."""


class PoolFull(KvTransferError):
    """No free run of the pool is long enough: there is no transfer, and decode computes the prompt."""


@dataclass(frozen=True, slots=True)
class AgentAddress:
    """Where an agent serves tiles, and the name in its certificate. Port 0: others can't dial it, it dials them."""

    host: str
    port: int
    name: str

    @property
    def dialled(self) -> bool:
        return self.port != 0

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Raises KvTransferError for what is no address of an agent."""
        try:
            address = cls(_text(document["host"]), _count(document["port"]), _text(document["name"]))
        except (KeyError, TypeError) as error:
            raise KvTransferError(f"An agent's address can't be read: {error!r}.") from error
        if not 0 <= address.port < 1 << 16 or not address.name.endswith(AGENT_SUFFIX):
            raise KvTransferError(f"An agent is said to be {address}; expected a port and a name {AGENT_SUFFIX}.")
        return address


@dataclass(frozen=True, slots=True)
class Ticket:
    """What travels as `kv_transfer_params` from prefill to decode. `binding` ties it to model and token ids."""

    ticket: str
    agent: AgentAddress
    capability: str
    binding: str
    format: KvFormat

    @property
    def tag(self) -> bytes:
        """What every frame of it carries."""
        return bytes.fromhex(self.ticket)

    @property
    def bytes(self) -> int:
        return Layout(self.format, self.format.whole).size

    def to_json(self) -> dict[str, Any]:
        return {
            "version": TICKET_VERSION,
            "do_remote_prefill": True,
            "ticket": self.ticket,
            "agent": asdict(self.agent),
            "capability": self.capability,
            "binding": self.binding,
            **format_json(self.format),
            "bytes": self.bytes,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what a client of ours handed on, believing none of it. Raises KvTransferError."""
        if document.get("version") != TICKET_VERSION:
            raise KvTransferError(f"A ticket has version {document.get('version')!r}; expected {TICKET_VERSION}.")
        try:
            address = AgentAddress.from_json(document["agent"])
            ticket, capability = _text(document["ticket"]), _text(document["capability"])
            binding = _text(document["binding"])
        except (KeyError, TypeError) as error:
            raise KvTransferError(f"A ticket can't be read: {error!r}.") from error
        if len(ticket) != 2 * TAG_BYTES or not all(letter in "0123456789abcdef" for letter in ticket):
            raise KvTransferError(f"A ticket is named {ticket!r}; expected {2 * TAG_BYTES} hexadecimal digits.")
        return cls(ticket, address, capability, binding, format_from_json(document))


def format_json(kv_format: KvFormat) -> dict[str, Any]:
    return {
        "tokens": kv_format.tokens,
        "codec": str(kv_format.codec),
        "boundary_layers": kv_format.boundary_layers,
        **asdict(kv_format.geometry),
    }


def format_from_json(document: Mapping[str, Any]) -> KvFormat:
    """Raises KvTransferError for anything but a format within our limits."""
    try:
        layers, kv_heads, head_dim = (_count(document[key]) for key in ("layers", "kv_heads", "head_dim"))
        geometry = Geometry(layers, kv_heads, head_dim, _text(document["dtype"]))
        tokens, boundary = _count(document["tokens"]), _count(document["boundary_layers"])
        return KvFormat(geometry, tokens, Codec(document["codec"]), boundary)
    except (KeyError, TypeError, ValueError) as error:
        raise KvTransferError(f"A ticket's format can't be read: {error!r}.") from error


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or len(value) > 256:
        raise TypeError(f"{value!r:.80} is not a short text")
    return value
