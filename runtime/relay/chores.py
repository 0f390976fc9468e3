"""What an agent does beside its requests, again and again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)


async def for_ever(every_s: float, chore: Callable[[], Awaitable[None]]) -> None:
    """Tickets that nobody sweeps would fill the pool: what goes wrong unforeseen is said, and done again."""
    while True:
        await asyncio.sleep(every_s)
        try:
            await chore()
        except Exception:
            log.exception("a chore of the relay failed")
