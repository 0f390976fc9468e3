"""What is said on a stream: a question as length and JSON, and an answer as status and length, then its bytes.

Lengths that arrive are compared with what they must be, or bounded before a byte is kept; nothing is unpickled.
"""

import json
import struct
from collections.abc import Mapping
from typing import Any

from planner.errors import KvTransferError
from runtime.relay.patience import STALL_S
from runtime.relay.stream import Stream
from runtime.relay.ticket import NotReady, TicketFailed, UnknownTicket, WrongBinding, WrongCapability
from runtime.tiles.frame import BadFrame

LENGTH = struct.Struct(">I")
ANSWER = struct.Struct(">HQ")
"""Status, and bytes that follow."""

LIMIT_QUESTION_BYTES = 1 << 20
LIMIT_REASON_BYTES = 400
LIMIT_PROBE_BYTES = 1 << 20
OK = 200
ERROR_OF_STATUS: dict[int, type[KvTransferError]] = {
    403: WrongCapability,
    404: UnknownTicket,
    409: WrongBinding,
    410: TicketFailed,
    503: NotReady,
}
STATUS_OF_ERROR = {kind: status for status, kind in ERROR_OF_STATUS.items()}
UNREADABLE = 400


class PeerUnreachable(KvTransferError):
    """The other agent did not answer, or its stream broke off."""


async def ask(
    stream: Stream, question: Mapping[str, Any], expected_bytes: int, agent: str, within_s: float = STALL_S
) -> None:
    """Returns when the answer's bytes are next on the stream. Raises what the answer says, or what the stream does."""
    data = json.dumps(question).encode()
    await stream.send(memoryview(LENGTH.pack(len(data)) + data))
    status, length = ANSWER.unpack(await stream.receive(ANSWER.size, within_s))
    if status != OK:
        reason = await stream.receive(min(length, LIMIT_REASON_BYTES))
        kind = ERROR_OF_STATUS.get(status, PeerUnreachable)
        raise kind(f"{agent} answered {status}: {reason.decode(errors='replace')}")
    if length != expected_bytes:
        raise BadFrame(f"{agent} announces {length} bytes; expected {expected_bytes}.")


async def asked(stream: Stream, within_s: float) -> dict[str, Any]:
    """The question that comes next. Raises ValueError for what is none, and what the stream raises."""
    (length,) = LENGTH.unpack(await stream.receive(LENGTH.size, within_s))
    if length > LIMIT_QUESTION_BYTES:
        raise ValueError(f"a question of {length} bytes")
    question = json.loads(await stream.receive(length))
    if not isinstance(question, dict):
        raise ValueError(f"a JSON object was expected, not {type(question).__name__}")
    return question


async def announce(stream: Stream, length: int) -> None:
    """So many bytes will follow."""
    await stream.send(memoryview(ANSWER.pack(OK, length)))


async def refuse(stream: Stream, error: Exception) -> None:
    """No bytes will follow; the stream goes on."""
    status = STATUS_OF_ERROR.get(type(error), UNREADABLE) if isinstance(error, KvTransferError) else UNREADABLE
    message = error.message if isinstance(error, KvTransferError) else f"The question can't be read: {error!r}."
    reason = message.encode()[:LIMIT_REASON_BYTES]
    await stream.send(memoryview(ANSWER.pack(status, len(reason)) + reason))
