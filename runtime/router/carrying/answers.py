"""What the client gets: a whole answer, a stream as it comes, or the error that a stream ends in."""

from collections.abc import Callable

from runtime.router import web
from runtime.router.carrying.exchange import REQUEST_ID, Answered, ClientGone, Exchange
from runtime.router.engines.leg import Leg, ReplicaFailed
from runtime.router.legs.events import ERROR
from runtime.router.replay.cut import CannotReplay
from runtime.router.surface.errors import SERVICE_UNAVAILABLE, error_event, error_response

UNSENT_LIMIT = 16 * 1024


class ClientStalls(Exception):
    """The client is there, and takes nothing of its stream."""


def passed(answer: Leg, content: bytes, exchange: Exchange) -> web.Response:
    """An engine's answer, whole."""
    headers = {"Content-Type": answer.headers.get("content-type", "application/json")} | _request_id(exchange)
    if "retry-after" in answer.headers:
        headers["Retry-After"] = answer.headers["retry-after"]
    return web.Response(status=answer.status, body=content, headers=headers)


def sent(response: web.Response, exchange: Exchange) -> web.Response:
    """Send an answer that is whole: the client does not wait for what is written down about it."""
    try:
        response.finish(exchange.request)
    except ConnectionError as error:
        raise ClientGone(response) from error
    return response


def refusal(answer: Leg, content: bytes, exchange: Exchange) -> Exception:
    """An engine's refusal of a request; in the middle of an answer no status can say it."""
    if exchange.response is None:
        return Answered(passed(answer, content, exchange))
    return CannotReplay(f"{answer.replica} answered {answer.status}")


def send(exchange: Exchange, answer: Leg, data: bytes) -> None:
    """Send bytes of a stream, which they begin if need be."""
    if not data:
        return
    if exchange.response is None:
        headers = {"Content-Type": answer.headers["content-type"], "Cache-Control": "no-cache"}
        exchange.response = web.StreamResponse(headers=headers | _request_id(exchange))
        exchange.response.prepare(exchange.request)
        exchange.request.transport.set_write_buffer_limits(high=UNSENT_LIMIT)
    to_client(exchange.response, data)


def pass_on(exchange: Exchange, answer: Leg, now: Callable[[], float], piece: bytes) -> bool:
    """Send what the next bytes of an engine's stream bring; whether the client takes more at once.

    Raises ClientGone, and ReplicaFailed where the engine says that it has failed.
    """
    events = exchange.events
    counted = events.content_events
    data = events.feed(piece)
    if events.content_events > counted:
        exchange.saw_content(now())
    if events.breaks_down and not exchange.client.obstacle:
        send(exchange, answer, data.partition(ERROR)[0])
        raise ReplicaFailed(exchange.record.decode, "reported an error of its own", unreachable=False)
    send(exchange, answer, data)
    return not exchange.request.connection.is_full


async def taken(exchange: Exchange, idle_s: float) -> None:
    """Wait until a client that is slow has taken most of what it was sent.

    Raises ClientGone, and ClientStalls where it takes nothing at all for `idle_s`.
    """
    if exchange.response is None:
        return
    try:
        await exchange.response.drain(idle_s)
    except TimeoutError as error:
        raise ClientStalls from error
    except ConnectionError as error:
        raise ClientGone(exchange.response) from error


def break_off(exchange: Exchange, message: str) -> web.StreamResponse:
    """End a stream in an error, never in silence."""
    response = exchange.response
    assert response is not None, "a stream that never began is not broken off"
    exchange.record.outcome = "interrupted"
    response.force_close()
    to_client(response, error_event(message, exchange.path), last=True)
    return response


def cut_off(exchange: Exchange) -> web.StreamResponse:
    """What a request gets that a stopping router does not wait for any longer."""
    exchange.record.outcome = "interrupted"
    if exchange.response is None:
        return error_response(503, "The router is stopping.", kind=SERVICE_UNAVAILABLE, headers={"Retry-After": "1"})
    try:
        to_client(exchange.response, error_event("The router is stopping.", exchange.path), last=True)
    except ClientGone:
        exchange.record.outcome = "cancelled"
    return exchange.response


def to_client(response: web.StreamResponse, data: bytes = b"", *, last: bool = False) -> None:
    """Send, and tell the client's connection failing from an engine's."""
    try:
        if data:
            response.write(data)
        if last:
            response.write_eof()
    except ConnectionError as error:
        raise ClientGone(response) from error


def _request_id(exchange: Exchange) -> dict[str, str]:
    return {REQUEST_ID: exchange.record.request_id}
