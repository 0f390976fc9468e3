"""A request that its replicas die of: after so many it is not given to another."""

import asyncio
from collections.abc import Sequence

from runtime.router.carrying.exchange import Answered, Exchange
from runtime.router.carrying.suffered import Suffered
from runtime.router.engines.leg import ReplicaFailed
from runtime.router.engines.upstream import Upstream
from runtime.router.replay.cut import CannotReplay
from runtime.router.surface.errors import SERVER_ERROR, error_response

DONT_RETRY = {"x-should-retry": "false"}
"""What OpenAI's clients obey: each try of theirs would take down as many again."""

SOON_S = 10.0
"""A replica that dies so long after a stream's leg came to it, or longer, dies of something else: it has borne it."""


async def spare_others(exchange: Exchange, failure: ReplicaFailed, upstream: Upstream, *, most: int) -> None:
    """Remember a replica that failed with a request on it; once `most` have died one after another it ends here.

    One that only broke off, or could not be reached, is not counted: whether it is dead is what it says when asked for
    its health. Nor is one that long bore a stream: how often that is moved has a limit of its own. A machine that takes
    both legs with it dies once.
    Raises CannotReplay in the middle of a stream, else Answered.
    """
    replica = exchange.asked.get(failure.replica)
    if not failure.reached or replica is None or (exchange.begun() and _bore_it(exchange, failure.replica)):
        return
    failed_at = asyncio.get_running_loop().time()
    exchange.suffered[replica.id] = Suffered(replica, exchange.asked_at.get(replica.id, failed_at), failed_at)
    suffered = list(exchange.suffered.values())
    if _deaths(suffered) < most:
        return
    wrong = await asyncio.gather(*(upstream.probe(one.replica) for one in suffered))
    dead = [one for one, reason in zip(suffered, wrong, strict=True) if reason]
    if _deaths(dead) >= most:
        names = ", ".join(sorted(one.replica.id for one in dead))
        raise _end(exchange, f"{names} died with this request, which is not given to another replica")


def _deaths(suffered: Sequence[Suffered]) -> int:
    """How often replicas died, by when they did: what went with one before it is not counted again."""
    return sum(not any(map(one.went_with, suffered[:before])) for before, one in enumerate(suffered))


def _bore_it(exchange: Exchange, replica: str) -> bool:
    return asyncio.get_running_loop().time() - exchange.asked_at.get(replica, 0.0) >= SOON_S


def _end(exchange: Exchange, reason: str) -> Exception:
    if exchange.response is not None:
        return CannotReplay(reason)
    exchange.record.outcome = "failed"
    message = f"Replicas {reason}."
    return Answered(error_response(500, message, kind=SERVER_ERROR, code="replicas_died", headers=DONT_RETRY))
