"""How long a transfer may take: as long as it gets on, within a bound that follows from its size.

A deadline that suits a small prompt on a fast line would end every large one on a slow line, which works: 500 MB at
5 Mbit/s take 14 minutes. So a wait ends when nothing has come for a while, which tells a dead line as soon.
"""

import asyncio
import contextlib
from collections.abc import Iterator

STALL_S = 20.0
"""How long a peer may neither send nor take a byte. The kernel ends a line that is dead after 15 s (`stream.py`)."""

LEAST_BYTES_PER_S = 62_500
"""0.5 Mbit/s: what one of ten pulls gets of a line of 5. Who trickles more slowly has its pull ended, at last."""


def longest_s(size: int, stall_s: float) -> float:
    """What `size` bytes may take on the way, waits included: for room, for the ticket, for the first byte.

    Not those for more of a prompt to be computed, which have a bound of their own: `standing_still`.
    """
    return 3 * stall_s + size / LEAST_BYTES_PER_S


@contextlib.contextmanager
def standing_still(deadline: asyncio.Timeout) -> Iterator[None]:
    """Meanwhile the time of a deadline does not run."""
    ends_at = deadline.when()
    if ends_at is None or deadline.expired():
        yield
        return
    loop = asyncio.get_running_loop()
    left_s = ends_at - loop.time()
    deadline.reschedule(None)
    try:
        yield
    finally:
        deadline.reschedule(loop.time() + left_s)
