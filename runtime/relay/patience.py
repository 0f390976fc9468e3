"""How long a transfer may take: as long as it gets on, within a bound that follows from its size.

A deadline that suits a small prompt on a fast line would end every large one on a slow line, which works: 500 MB at
5 Mbit/s take 14 minutes. So a wait ends when nothing has come for a while, which tells a dead line as soon.
"""

STALL_S = 20.0
"""How long a peer may neither send nor take a byte. The kernel ends a line that is dead after 15 s (`stream.py`)."""

LEAST_BYTES_PER_S = 62_500
"""0.5 Mbit/s: what one of ten pulls gets of a line of 5. Who trickles more slowly has its pull ended, at last."""


def longest_s(size: int, stall_s: float) -> float:
    """What `size` bytes may take on the way, all waits included: for room, for the ticket, for the first byte."""
    return 3 * stall_s + size / LEAST_BYTES_PER_S
