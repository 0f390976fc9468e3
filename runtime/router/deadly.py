"""A request that its replicas die of: after so many it is not given to another."""

import asyncio

from runtime.router.errors import SERVER_ERROR, error_response
from runtime.router.exchange import Answered, Exchange
from runtime.router.replay import CannotReplay
from runtime.router.upstream import ReplicaFailed, Upstream

DONT_RETRY = {"x-should-retry": "false"}
"""What OpenAI's clients obey: each try of theirs would take down as many again."""


async def spare_others(exchange: Exchange, failure: ReplicaFailed, upstream: Upstream, *, most: int) -> None:
    """Remember a replica that failed with a request on it; once `most` of them are dead the request ends here.

    One that only broke off, or could not be reached, is not counted: whether it is dead is what it says when asked for
    its health. Raises CannotReplay in the middle of a stream, else Answered.
    """
    replica = exchange.epoch.replicas.get(failure.replica)
    if not failure.reached or replica is None:
        return
    exchange.suffered[replica.id] = replica
    if len(exchange.suffered) < most:
        return
    wrong = await asyncio.gather(*map(upstream.probe, exchange.suffered.values()))
    dead = sorted(name for name, reason in zip(exchange.suffered, wrong, strict=True) if reason)
    if len(dead) >= most:
        raise _end(exchange, f"{', '.join(dead)} died with this request, which is not given to another replica")


def _end(exchange: Exchange, reason: str) -> Exception:
    if exchange.response is not None:
        return CannotReplay(reason)
    exchange.record.outcome = "failed"
    message = f"Replicas {reason}."
    return Answered(error_response(500, message, kind=SERVER_ERROR, code="replicas_died", headers=DONT_RETRY))
