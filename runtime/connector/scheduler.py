"""The connector in vLLM's scheduler process: which requests are handed on, and which are loaded.

Prefill leg: when a request marked `do_remote_decode` has finished, bytes are reserved at the agent and the ticket goes
out with the answer. Decode leg: a request that brings a ticket over the same model and tokens waits for its tiles.
Whatever is wrong with a ticket or the agent means no transfer: the request is then computed here, in its turn.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from planner.deployment import Codec
from planner.errors import KvTransferError
from runtime.connector.jobs import Load, Save, Step
from runtime.connector.recompute import TOKENS_PER_S, Recompute
from runtime.relay.door import AgentDoor, AgentGone, AgentRefused, AgentSlow
from runtime.relay.tickets import LIMIT_READERS, Ticket, format_json
from runtime.tiles.format import KvFormat
from runtime.tiles.geometry import Geometry

if TYPE_CHECKING:
    from vllm.v1.request import Request

RESERVE_S = 0.5
"""The engine does nothing else meanwhile. An agent that takes longer is asked no more for `BACK_OFF_S`."""

BACK_OFF_S = 5.0
ROOM_S = 0.2
"""How long the agent may wait for room in its pool, within `RESERVE_S`."""

WAITING_SHARE = 0.1
"""Of the engine's time may go by in such waits: however full the pool, it is slowed down no more than that."""

_FINISHED_WELL = ("FINISHED_STOPPED", "FINISHED_LENGTH_CAPPED")

logger = logging.getLogger("vllm.thunder")


class SchedulerSide:
    """One per engine. `bind` hashes token ids with the model; `ranks` is how many workers encode and load."""

    def __init__(
        self,
        door: AgentDoor,
        *,
        geometry: Geometry,
        bind: Callable[[Sequence[int]], str],
        block_size: int,
        ranks: int,
        boundary_layers: int,
        recompute_tokens_per_s: float = TOKENS_PER_S,
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
        self._wanted: dict[str, Ticket] = {}
        self._loading: dict[str, Ticket] = {}
        self._failed: dict[str, Ticket] = {}
        self._recompute = Recompute(recompute_tokens_per_s, door.tell, now)
        self._cached: dict[str, int] = {}
        self._step = Step()

    def arrived(self, request: "Request") -> None:
        """First sight of a request: decide here, once, whether its ticket is good."""
        params = request.kv_transfer_params or {}
        if params.get("kv_lost"):
            reason = "no_ticket: the router has none, though one was due"
        elif params.get("do_remote_prefill"):
            reason = self._taken(request, params)
        else:
            return
        if not reason:
            return
        logger.warning("Request %s is computed here, not loaded: %s", request.request_id, reason)
        self._door.tell("note", {"what": reason.split(":", 1)[0]})
        self._recompute.add(request.request_id)

    def matched(self, request: "Request", computed: int) -> tuple[int | None, bool]:
        """Tokens to load beyond the `computed` ones; None: ask again later, others may go first.

        A request that has loaded, or failed to, is not loaded again. One that failed to waits for its turn.
        """
        if (request.kv_transfer_params or {}).get("do_remote_decode"):
            self._cached[request.request_id] = computed
        ticket = self._wanted.get(request.request_id)
        count = ticket.format.tokens - computed if ticket else 0
        if count > 0:
            return count, True
        may_run = self._recompute.may_run(request.request_id, request.num_prompt_tokens - computed)
        return (0 if may_run else None), False

    def allocated(self, request: "Request", block_ids: Sequence[int], external: int) -> None:
        """Blocks for `external` tokens to load are there: the next step starts the load. With none it runs now."""
        if external == 0:
            self._recompute.forget(request.request_id)
            self._acknowledge(self._failed.pop(request.request_id, None))
            return
        ticket = self._wanted.pop(request.request_id)
        self._loading[request.request_id] = ticket
        first = ticket.format.tokens - external
        blocks = tuple(block_ids[: -(-ticket.format.tokens // self._block_size)])
        self._step.loads.append(Load(request.request_id, ticket.to_json(), ticket.format, blocks, first))

    def step(self) -> Step:
        """What the workers shall do in this step."""
        step, self._step = self._step, Step()
        step.waits = self._recompute.waiting
        return step

    def received(self, request_ids: Iterable[str], failed: Collection[str] = ()) -> None:
        """All ranks are done with these loads. Of those that `failed`, others may yet want the ticket."""
        for request_id in request_ids:
            ticket = self._loading.pop(request_id, None)
            if ticket is not None and request_id in failed:
                self._failed[request_id] = ticket
                self._recompute.add(request_id)
            else:
                self._acknowledge(ticket)

    def finished(self, request: "Request", block_ids: Sequence[int]) -> tuple[bool, dict[str, Any] | None]:
        """Whether the workers still need the blocks, and the ticket for the client."""
        unused = self._wanted.pop(request.request_id, None)
        self._loading.pop(request.request_id, None)
        self._failed.pop(request.request_id, None)
        self._recompute.forget(request.request_id)
        cached = self._cached.pop(request.request_id, 0)
        well = request.status.name in _FINISHED_WELL
        if well:
            self._acknowledge(unused)
        params = request.kv_transfer_params or {}
        if not params.get("do_remote_decode") or not well:
            return False, None
        ticket = self._hand_on(request, block_ids, params)
        return (False, None) if ticket is None else (True, {**ticket, "remote_prefill_cached_tokens": cached})

    def close(self) -> None:
        self._door.close()

    def _acknowledge(self, ticket: Ticket | None) -> None:
        """This reader needs it no more."""
        if ticket is not None:
            self._door.tell("ack", {"ticket": ticket.to_json()})

    def _hand_on(
        self, request: "Request", block_ids: Sequence[int], params: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Reserve a ticket and order its encoding; None when there can be no transfer."""
        try:
            self._check_plain(request)
            kv_format = KvFormat(
                self._geometry, request.num_prompt_tokens, _codec(params), self._boundary_layers_of(params)
            )
            blocks = tuple(block_ids[: -(-kv_format.tokens // self._block_size)])
            if len(blocks) * self._block_size < kv_format.tokens:
                raise KvTransferError(f"{len(blocks)} blocks are left of a prompt of {kv_format.tokens} tokens.")
            answer = self._reserve(request.prompt_token_ids or [], kv_format, _readers(params))
        except KvTransferError as error:
            logger.warning("Request %s gets no ticket: %s", request.request_id, error.message)
            if not isinstance(error, AgentGone | AgentSlow | AgentRefused):  # the agent knows of a refusal
                self._door.tell("note", {"what": "not_handed_on"})
            return None
        ticket: dict[str, Any] = answer["ticket"]
        self._step.saves.append(
            Save(request.request_id, ticket["ticket"], kv_format, blocks, answer["offset"], answer["boot"])
        )
        return ticket

    def _reserve(self, token_ids: Sequence[int], kv_format: KvFormat, readers: int) -> dict[str, Any]:
        """Ask the agent; one that was slow is left alone for a while, so that it can't slow the engine down."""
        if self._now() < self._reserve_after:
            raise AgentGone("The agent was slow a moment ago.")
        asked_at = self._now()
        fields = {
            "format": format_json(kv_format),
            "binding": self._bind(token_ids),
            "ranks": self._ranks,
            "readers": readers,
            "within_s": ROOM_S if asked_at >= self._wait_after else 0.0,
        }
        try:
            return self._door.call("reserve", fields, timeout_s=RESERVE_S)
        except AgentSlow:
            self._reserve_after = self._now() + BACK_OFF_S
            raise
        finally:
            self._wait_after = max(self._wait_after, self._now() + (self._now() - asked_at) * (1 / WAITING_SHARE - 1))

    def _taken(self, request: "Request", params: Mapping[str, Any]) -> str:
        """Keep the ticket that a request brought, to be loaded; else why not."""
        try:
            ticket = Ticket.from_json(params)
        except KvTransferError as error:
            return f"unreadable_ticket: {error.message}"
        if not (reason := self._objection(request, ticket)):
            self._wanted[request.request_id] = ticket
        return reason

    def _objection(self, request: "Request", ticket: Ticket) -> str:
        """Why a ticket can't be used for a request; empty when it can."""
        try:
            self._check_plain(request)
        except KvTransferError as error:
            return f"not_plain_tokens: {error.message}"
        if ticket.format.geometry != self._geometry:
            return f"geometry_mismatch: {ticket.format.geometry}; this engine has {self._geometry}"
        if ticket.format.tokens != request.num_prompt_tokens or ticket.binding != self._bind(
            request.prompt_token_ids or []
        ):
            return "binding_mismatch: the ticket is over another model or other tokens"
        return ""

    def _check_plain(self, request: "Request") -> None:
        """KV follows from the token ids alone only for text, without adapters."""
        if request.prompt_token_ids is None or request.prompt_embeds is not None or request.mm_features:
            raise KvTransferError("The prompt is not token ids alone.")
        if request.lora_request is not None or request.resumable:
            raise KvTransferError("The request has an adapter or grows while it runs.")

    def _boundary_layers_of(self, params: Mapping[str, Any]) -> int:
        asked = params.get("boundary_layers", self._boundary_layers)
        if not isinstance(asked, int) or not 0 <= asked <= self._geometry.layers:
            raise KvTransferError(f"boundary_layers is {asked!r}; expected 0 to {self._geometry.layers}.")
        return asked


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
