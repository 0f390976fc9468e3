"""`GET /api/v1/live`: what changes, as server-sent events: `status`, `event`, `point`, and `problem`.

Once a second the source is asked, however many follow, and only while somebody does. Events have their ids, so that a
browser that comes back with `Last-Event-ID` misses none; status and points are the newest, whatever was missed.
With `?brief=1` a status is a few figures: enough to know that it is another, as that of a large fleet is 300 kB.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Any

from aiohttp import web

from planner.errors import ThunderError
from thunderctl.api.guard import CALLER
from thunderctl.api.hub import Hub, News, Piece, Reader
from thunderctl.api.numbers import Numbers
from thunderctl.api.refusals import Refusal, refusal_of
from thunderctl.api.series import POINT_EVERY_S
from thunderctl.api.source import Document, Source

LOOK_EVERY_S = 1.0
HEARTBEAT_S = 15.0
WRITE_S = 10.0
"""A reader that takes nothing of what it is sent for so long is let go."""
MOST_MISSED = 1000
"""Events that are told again to who comes back; of more, the last."""
OPENING = b"retry: 2000\n\n"
HEARTBEAT = b": still here\n\n"
ALWAYS_NEW = ("at", "controller", "links", "ending")
"""Of the status document: what differs from look to look though nothing has happened."""
FEW = ("schema", "at", "deployment", "state", "plan_id", "epoch", "cost_usd_per_hour", "spent_usd")
"""What of it is told in brief."""
log = logging.getLogger(__name__)


class Live:
    """The stream, and the task that feeds it."""

    def __init__(self, source: Source, numbers: Numbers, *, every_s: float = LOOK_EVERY_S) -> None:
        self._source = source
        self._every_s = every_s
        self._hub = Hub(numbers)
        self._shown: Document = {}
        self._problem = ""
        self._last_id = 0
        self._pointed_at = 0.0

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.get("/api/v1/live", self.live, allow_head=False)]

    async def running(self, _: web.Application) -> AsyncIterator[None]:
        """Feed it for as long as the application runs."""
        feeding = asyncio.ensure_future(self._feed())
        yield
        feeding.cancel()
        with suppress(asyncio.CancelledError):
            await feeding

    async def end(self, _: web.Application) -> None:
        """Let everybody go: the server stops."""
        self._hub.close()

    async def live(self, request: web.Request) -> web.StreamResponse:
        is_brief, caller = request.query.get("brief") == "1", request[CALLER]
        with self._hub.reading(is_brief=is_brief, is_known=caller.may_change) as reader:
            first = await self._first(reader, _last_seen(request))
            answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
            await answer.prepare(request)
            try:
                await self._carry(reader, answer, OPENING + first)
            except TimeoutError:
                if request.transport is not None:
                    request.transport.abort()
            except ConnectionError:
                pass  # it has gone
        return answer

    async def _carry(self, reader: Reader, answer: web.StreamResponse, first: bytes) -> None:
        text = first
        while True:
            async with asyncio.timeout(WRITE_S):
                await answer.write(text)
            if reader.over:
                return
            text = await reader.next(HEARTBEAT_S) or HEARTBEAT

    async def _first(self, reader: Reader, last_seen: int | None) -> bytes:
        """The status, and the events since what the reader saw last; for a new one, none that are over."""
        status = await self._source.status()
        missed = (await self._source.events(limit=1 if last_seen is None else MOST_MISSED))["events"]
        newest = max((one["id"] for one in missed), default=0)
        reader.seen = newest if last_seen is None else min(last_seen, newest)
        if len(self._hub) == 1:  # nobody else is told of less, nor of what happened while nobody followed
            self._shown, self._last_id = status, newest
        return reader.fresh((*_news(status).of(is_brief=reader.is_brief), *_told(missed)))

    async def _feed(self) -> None:
        while True:
            if len(self._hub):
                try:
                    await self._look()
                    self._problem = ""
                except ThunderError as error:
                    self._say(refusal_of(error))
                except Exception:
                    log.exception("what is live can't be told")
            await asyncio.sleep(self._every_s)

    async def _look(self) -> None:
        status = await self._source.status()
        if _lasting(status) != _lasting(self._shown) or self._problem:
            self._hub.tell(_news(status))
        self._shown = status
        for point in self._source.series(2 * POINT_EVERY_S)["points"][-1:]:
            if point["at"] > self._pointed_at:
                self._pointed_at = point["at"]
                self._hub.tell(News(((0, _text("point", point)),), kind="point"))
        events = (await self._source.events(after_id=self._last_id, limit=MOST_MISSED))["events"]
        if events:
            self._last_id = max(self._last_id, events[-1]["id"])
            self._hub.tell(News(tuple(_told(events))))

    def _say(self, refusal: Refusal) -> None:
        """That it can't be read, once: what is shown is old."""
        if refusal.message != self._problem:
            self._problem = refusal.message
            self._hub.tell(News(((0, _text("problem", refusal.document())),)))


def _told(events: Iterable[Document]) -> Piece:
    return tuple((one["id"], _text("event", one, f"id: {one['id']}\n")) for one in events)


def _news(status: Document) -> News:
    few = {name: value for name, value in status.items() if name in FEW}
    return News(((0, _text("status", status)),), ((0, _text("status", few)),), "status")


def _text(kind: str, document: Document, head: str = "") -> bytes:
    """One server-sent event; JSON as it is written here has no line breaks."""
    return f"{head}event: {kind}\ndata: {json.dumps(document, ensure_ascii=False)}\n\n".encode()


def _lasting(status: Document) -> dict[str, Any]:
    return {name: value for name, value in status.items() if name not in ALWAYS_NEW}


def _last_seen(request: web.Request) -> int | None:
    said = request.headers.get("Last-Event-ID", request.query.get("last_event_id", ""))
    return int(said) if said.isascii() and said.isdecimal() and len(said) < 19 else None
