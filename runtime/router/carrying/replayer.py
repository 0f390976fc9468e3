"""Token replay where it meets the world: an engine reads back what was said, and a request becomes one for the rest."""

import json
from collections.abc import Callable, Sequence
from functools import partial

from runtime.router.carrying.answers import to_client
from runtime.router.carrying.bereft import Bereft
from runtime.router.carrying.exchange import Exchange
from runtime.router.choosing.epochs import RouteTable
from runtime.router.choosing.health import ReplicaHealth
from runtime.router.engines.leg import ReplicaFailed
from runtime.router.engines.upstream import Upstream
from runtime.router.legs.usage import Usage
from runtime.router.replay.cut import CannotReplay, Cut, cut
from runtime.router.replay.stream import end_events, held_event
from runtime.router.settings import RouterSettings
from runtime.router.surface.errors import error_kind

DETOKENIZE = "/detokenize"
READ_S = 30.0


class Replayer:
    """Takes up streams that broke off. `note` is told of every replica that fails meanwhile."""

    def __init__(
        self,
        table: RouteTable,
        upstream: Upstream,
        health: ReplicaHealth,
        bereft: Bereft,
        *,
        settings: RouterSettings,
        note: Callable[[Exchange, ReplicaFailed], None],
        now: Callable[[], float],
    ) -> None:
        self._table = table
        self._upstream = upstream
        self._health = health
        self._bereft = bereft
        self._settings = settings
        self._note = note
        self._now = now

    async def take_up(self, exchange: Exchange, failed: str) -> bool:
        """Make an exchange, whose stream a replica broke off, one for the rest of its answer; whether that is whole.

        Raises CannotReplay.
        """
        exchange.pardon(self._health.came_back)
        exchange.failed[failed] = self._now()
        if self._table.current.routes.model != exchange.epoch.routes.model:
            raise CannotReplay("the plan in force is of another model")
        exchange.follow(self._table.current)  # what goes on elsewhere goes by the plan in force
        at = await self._cut(exchange)
        response = exchange.response
        assert response is not None, "a stream that broke off had begun"
        if at is None:
            return False
        if at.finished:
            to_client(response, end_events(at.last, _usage_due(exchange, at)), last=True)
            exchange.record.outcome = "ok"
            return True
        exchange.go_on(at)
        if at.held:
            to_client(response, held_event(at.last, at.held))
        return False

    async def _cut(self, exchange: Exchange) -> Cut | None:
        """Where the stream can go on, by what a replica that has not failed says of its tokens.

        None: where it was to go on already, as nothing came of that.
        """
        transcript = exchange.events.transcript
        if transcript is None:
            raise CannotReplay(exchange.client.obstacle)
        while True:
            exchange.moves += 1
            if exchange.moves > self._settings.moves:
                raise CannotReplay(f"it was moved {self._settings.moves} times before")
            reader = await self._reader(exchange)
            if transcript.is_empty:
                return None
            text_of = partial(self._text, exchange, reader)
            try:
                return await cut(transcript, exchange.events.content_events, exchange.client.document, text_of)
            except ReplicaFailed as failure:
                self._note(exchange, failure)
                exchange.failed[reader] = self._now()

    async def _reader(self, exchange: Exchange) -> str:
        """A replica that may go on; where there is none, one that comes in time."""
        reader = exchange.epoch.policy.reader(self._health.is_up, exchange.failed)
        if reader is None and await self._bereft.until_served(exchange):
            reader = exchange.epoch.policy.reader(self._health.is_up, exchange.failed)
        if reader is None:
            raise CannotReplay(f"no other decode replica is up{exchange.waited}")
        return reader

    async def _text(self, exchange: Exchange, reader: str, ids: Sequence[int]) -> str:
        replica = exchange.asked[reader] = exchange.epoch.replicas[reader]
        body = json.dumps({"tokens": list(ids)}).encode()
        async with self._upstream.post(replica, DETOKENIZE, body, exchange.headers, answer_s=READ_S) as answer:
            content = await answer.read(READ_S)
        try:
            return str(json.loads(content)["prompt"])
        except (ValueError, KeyError, TypeError) as error:
            reason = f"gave no text for tokens{error_kind(content)}"
            raise ReplicaFailed(reader, reason, unreachable=False) from error


def _usage_due(exchange: Exchange, at: Cut) -> Usage | None:
    """The usage of an answer of which all tokens were said, if it was asked for and not stated."""
    options = exchange.client.document.get("stream_options") or {}
    return exchange.events.tokens if options.get("include_usage") and at.last["choices"] else None
