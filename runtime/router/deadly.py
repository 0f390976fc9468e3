"""A request that its replicas die of: after so many it is not given to another."""

import asyncio

from runtime.router.errors import SERVER_ERROR, error_response
from runtime.router.exchange import Answered, Exchange
from runtime.router.replay import CannotReplay
from runtime.router.upstream import ReplicaFailed, Upstream

DONT_RETRY = {"x-should-retry": "false"}
"""What OpenAI's clients obey: each try of theirs would take down as many again."""

SOON_S = 10.0
"""A replica that dies so long after a stream's leg came to it, or longer, dies of something else: it has borne it."""


async def spare_others(exchange: Exchange, failure: ReplicaFailed, upstream: Upstream, *, most: int) -> None:
    """Remember a replica that failed with a request on it; once `most` of them are dead the request ends here.

    One that only broke off, or could not be reached, is not counted: whether it is dead is what it says when asked for
    its health. Nor is one that long bore a stream: how often that is moved has a limit of its own.
    Raises CannotReplay in the middle of a stream, else Answered.
    """
    replica = exchange.epoch.replicas.get(failure.replica)
    if not failure.reached or replica is None or (exchange.begun() and _bore_it(exchange, failure.replica)):
        return
    exchange.suffered[replica.id] = replica
    if len(exchange.suffered) < most:
        return
    wrong = await asyncio.gather(*map(upstream.probe, exchange.suffered.values()))
    dead = sorted(name for name, reason in zip(exchange.suffered, wrong, strict=True) if reason)
    if len(dead) >= most:
        raise _end(exchange, f"{', '.join(dead)} died with this request, which is not given to another replica")


def _bore_it(exchange: Exchange, replica: str) -> bool:
    return asyncio.get_running_loop().time() - exchange.asked_at.get(replica, 0.0) >= SOON_S


def _end(exchange: Exchange, reason: str) -> Exception:
    if exchange.response is not None:
        return CannotReplay(reason)
    exchange.record.outcome = "failed"
    message = f"Replicas {reason}."
    return Answered(error_response(500, message, kind=SERVER_ERROR, code="replicas_died", headers=DONT_RETRY))
