"""Prompts that are computed here and decoded elsewhere: their tickets, and which of their tiles to encode in a step.

A ticket is reserved when its request is first scheduled, and each step orders the 64-token groups that it completes to
be encoded, so that tiles leave while the rest is computed (`stream` in the order); or it is reserved in the step that
completes the prompt, and everything is encoded then; also where the agent had no room at first. Nothing holds the
blocks: each step copies out what it completed.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from planner.deployment import Codec
from planner.errors import KvTransferError
from runtime.connector.jobs import Save
from runtime.relay.door import AgentDoor
from runtime.relay.session import AgentGone, AgentRefused, AgentSlow
from runtime.relay.ticket import format_json
from runtime.relay.tickets import LIMIT_READERS
from runtime.tiles.format import KvFormat
from runtime.tiles.geometry import GROUP_TOKENS, Geometry

if TYPE_CHECKING:
    from vllm.v1.request import Request

RESERVE_S = 0.5
"""The engine does nothing else meanwhile. An agent that takes longer is asked no more for `BACK_OFF_S`."""

BACK_OFF_S = 5.0
ROOM_S = 0.2
"""How long the agent may wait for room in its pool, within `RESERVE_S`."""

WAITING_SHARE = 0.1
"""Of the engine's time may go by in such waits: however full the pool, it is slowed down no more than that."""

logger = logging.getLogger("vllm.thunder")


@dataclass(slots=True)
class _Prompt:
    """One that is computed here. Groups up to `ordered` were ordered to be encoded; `reserved`: what the agent said."""

    request_id: str
    token_ids: Sequence[int]
    format: KvFormat
    readers: int
    streamed: bool
    cached: int = 0
    ordered: int = 0
    reserved: dict[str, Any] = field(default_factory=dict)

    def groups_of(self, tokens: int) -> int:
        """Those that are complete with so many tokens, as far as they are to be encoded by now."""
        if tokens >= self.format.tokens:
            return self.format.groups
        return tokens // GROUP_TOKENS if self.streamed else 0


class HandingOn:
    """One per engine. `bind` hashes token ids with the model; `ranks` is how many workers encode."""

    def __init__(
        self,
        door: AgentDoor,
        *,
        geometry: Geometry,
        bind: Callable[[Sequence[int]], str],
        block_size: int,
        ranks: int,
        boundary_layers: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._door = door
        self._geometry = geometry
        self._bind = bind
        self._block_size = block_size
        self._ranks = ranks
        self._boundary_layers = min(boundary_layers, geometry.layers)
        self._now = now
        self._reserve_after = 0.0
        self._wait_after = 0.0
        self._prompts: dict[str, _Prompt] = {}
        self._abandoned: list[str] = []

    def arrived(self, request: "Request") -> None:
        """First sight of a request: whether it is to be handed on, and can be."""
        params = request.kv_transfer_params or {}
        if not params.get("do_remote_decode"):
            return
        try:
            self._prompts[request.request_id] = self._ordered(request, params)
        except KvTransferError as error:
            self._refused(request.request_id, error)

    def found(self, request_id: str, cached: int) -> None:
        """So many tokens of it were computed before."""
        if request_id in self._prompts:
            self._prompts[request_id].cached = cached

    def computed(self, request_id: str, tokens: int, block_ids: Callable[[], Sequence[int]]) -> Save | None:
        """What to encode in a step that brings a request to so many tokens."""
        prompt = self._prompts.get(request_id)
        if prompt is None or (not prompt.streamed and tokens < prompt.format.tokens):
            return None
        try:
            if not prompt.reserved:
                prompt.reserved = self._reserve(prompt)
            stop = prompt.groups_of(tokens)
            return self._save(prompt, stop, block_ids()) if stop > prompt.ordered else None
        except KvTransferError as error:
            if _may_pass(error) and tokens < prompt.format.tokens:
                prompt.streamed = False  # The step that completes it asks again, and orders everything.
                return None
            self._refused(request_id, error)
            self._abandon(self._prompts.pop(request_id))
            return None

    def finished(self, request_id: str, *, well: bool) -> dict[str, Any] | None:
        """The ticket for the client, whose tiles are encoded by now or soon."""
        prompt = self._prompts.pop(request_id, None)
        if prompt is None:
            return None
        if not well or prompt.ordered < prompt.format.groups:
            self._abandon(prompt)
            return None
        return {**prompt.reserved["ticket"], "remote_prefill_cached_tokens": prompt.cached}

    def abandoned(self) -> list[str]:
        """Tickets whose tiles will not all be ordered, since asked last: ranks write no more for them."""
        abandoned, self._abandoned = self._abandoned, []
        return abandoned

    def _ordered(self, request: "Request", params: Mapping[str, Any]) -> _Prompt:
        if why := why_not_plain(request):
            raise KvTransferError(why)
        kv_format = KvFormat(
            self._geometry, request.num_prompt_tokens, _codec(params), self._boundary_layers_of(params)
        )
        streamed = params.get("stream") is True
        return _Prompt(request.request_id, request.prompt_token_ids or [], kv_format, _readers(params), streamed)

    def _save(self, prompt: _Prompt, stop: int, block_ids: Sequence[int]) -> Save:
        tokens = min(stop * GROUP_TOKENS, prompt.format.tokens)
        if len(block_ids) * self._block_size < tokens:
            raise KvTransferError(f"{len(block_ids)} blocks are there of a prompt of {tokens} tokens.")
        first = prompt.ordered * GROUP_TOKENS // self._block_size
        save = Save(
            ticket=prompt.reserved["ticket"]["ticket"],
            format=prompt.format,
            groups=(prompt.ordered, stop),
            block_ids=tuple(block_ids[first : -(-tokens // self._block_size)]),
            first_token=first * self._block_size,
            offset=prompt.reserved["offset"],
            boot=prompt.reserved["boot"],
            by_layer=prompt.streamed,
        )
        prompt.ordered = stop
        return save

    def _abandon(self, prompt: _Prompt) -> None:
        if prompt.reserved:
            self._abandoned.append(prompt.reserved["ticket"]["ticket"])

    def _reserve(self, prompt: _Prompt) -> dict[str, Any]:
        """Ask the agent; one that was slow is left alone for a while, so that it can't slow the engine down."""
        if self._now() < self._reserve_after:
            raise AgentSlow("The agent was slow a moment ago.")
        asked_at = self._now()
        fields = {
            "format": format_json(prompt.format),
            "binding": self._bind(prompt.token_ids),
            "ranks": self._ranks,
            "readers": prompt.readers,
            "within_s": ROOM_S if asked_at >= self._wait_after else 0.0,
        }
        if prompt.streamed:
            fields |= {"request": prompt.request_id, "cached": prompt.cached}
        try:
            return self._door.call("reserve", fields, timeout_s=RESERVE_S)
        except AgentSlow:
            self._reserve_after = self._now() + BACK_OFF_S
            raise
        finally:
            self._wait_after = max(self._wait_after, self._now() + (self._now() - asked_at) * (1 / WAITING_SHARE - 1))

    def _refused(self, request_id: str, error: KvTransferError) -> None:
        logger.warning("Request %s gets no ticket: %s", request_id, error.message)
        if not isinstance(error, AgentGone | AgentSlow | AgentRefused):  # the agent knows of a refusal
            self._door.tell("note", {"what": "not_handed_on"})

    def _boundary_layers_of(self, params: Mapping[str, Any]) -> int:
        asked = params.get("boundary_layers", self._boundary_layers)
        if not isinstance(asked, int) or not 0 <= asked <= self._geometry.layers:
            raise KvTransferError(f"boundary_layers is {asked!r}; expected 0 to {self._geometry.layers}.")
        return asked


def why_not_plain(request: "Request") -> str:
    """KV follows from the token ids alone only for text, without adapters; empty for those."""
    if request.prompt_token_ids is None or request.prompt_embeds is not None or request.mm_features:
        return "The prompt is not token ids alone."
    if request.lora_request is not None or request.resumable:
        return "The request has an adapter or grows while it runs."
    return ""


def _may_pass(error: KvTransferError) -> bool:
    """Whether the agent may have room, or time, for the same ticket a little later."""
    return isinstance(error, AgentSlow) or (isinstance(error, AgentRefused) and error.reason == "PoolFull")


def _codec(params: Mapping[str, Any]) -> Codec:
    try:
        return Codec(params.get("codec", Codec.RAW))
    except ValueError as error:
        raise KvTransferError(f"The codec {params.get('codec')!r} is not known.") from error


def _readers(params: Mapping[str, Any]) -> int:
    readers = params.get("readers", 1)
    if not isinstance(readers, int) or not 1 <= readers <= LIMIT_READERS:
        raise KvTransferError(f"readers is {readers!r}; expected 1 to {LIMIT_READERS}.")
    return readers
