"""What agent and connectors say on the agent's Unix socket, and within which bounds.

On accept the agent sends a greeting with the pool's file descriptor. Then both sides send messages: four bytes of
length (big-endian) and a JSON object. A request has `id` and `call`; its answer has the same `id` and `ok`, and either
the result's fields or `error` and `message`. Nothing is executed or unpickled, and every length is bounded.
"""

import struct

GREETING = struct.Struct(">4sBQ16s")
"""magic, version, bytes of the pool, boot id of the agent."""

MAGIC = b"THDR"
VERSION = 2
LENGTH = struct.Struct(">I")
LIMIT_MESSAGE_BYTES = 1 << 16
