"""The connector in vLLM's scheduler process: which requests are handed on, and which are loaded.

Prefill leg: tiles of a request marked `do_remote_decode` are ordered as they are computed, and the ticket goes out with
the answer (`handing.py`). Decode leg: a request with a ticket over the same model and tokens waits for its tiles.
Whatever is wrong with a ticket or the agent means no transfer: the request is then computed here, in its turn.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from planner.errors import KvTransferError
from runtime.connector.handing import HandingOn, why_not_plain
from runtime.connector.jobs import Load, Step
from runtime.connector.recompute import TOKENS_PER_S, Recompute
from runtime.connector.renewing import Renewing
from runtime.relay.door import AgentDoor
from runtime.relay.ticket import Ticket
from runtime.tiles.geometry import Geometry

if TYPE_CHECKING:
    from vllm.v1.request import Request

_FINISHED_WELL = ("FINISHED_STOPPED", "FINISHED_LENGTH_CAPPED")

Computed = tuple[str, int, Callable[[], Sequence[int]]]
"""A request, how many of its tokens are computed when the step is over, and the blocks that hold them."""

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
        self._handing = HandingOn(
            door,
            geometry=geometry,
            bind=bind,
            block_size=block_size,
            ranks=ranks,
            boundary_layers=boundary_layers,
            now=now,
        )
        self._wanted: dict[str, Ticket] = {}
        self._loading: dict[str, Ticket] = {}
        self._failed: dict[str, Ticket] = {}
        self._recompute = Recompute(recompute_tokens_per_s, door.tell, now)
        self._renewing = Renewing(door.tell, now)
        self._step = Step()

    def arrived(self, request: "Request") -> None:
        """First sight of a request: decide here, once, whether its ticket is good."""
        params = request.kv_transfer_params or {}
        self._handing.arrived(request)
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
        if not why_not_plain(request):  # else no KV could ever come: it was bound to be computed here
            self._recompute.add(request.request_id)

    def matched(self, request: "Request", computed: int) -> tuple[int | None, bool]:
        """Tokens to load beyond the `computed` ones; None: ask again later, others may go first.

        A request that has loaded, or failed to, is not loaded again. One that failed to waits for its turn.
        """
        self._handing.found(request.request_id, computed)
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

    def step(self, computed: Iterable[Computed] = ()) -> Step:
        """What the workers shall do in this step, which computes these."""
        self._renewing.renew(chain(self._wanted.values(), self._loading.values()))
        step, self._step = self._step, Step()
        step.waits = self._recompute.waiting
        orders = [self._handing.computed(*progress) for progress in computed]
        step.saves = [save for save in orders if save is not None]
        step.abandoned = self._handing.abandoned()
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

    def finished(self, request: "Request") -> dict[str, Any] | None:
        """The ticket for the client. Nobody needs the blocks any more."""
        unused = self._wanted.pop(request.request_id, None)
        self._loading.pop(request.request_id, None)
        self._failed.pop(request.request_id, None)
        self._recompute.forget(request.request_id)
        well = request.status.name in _FINISHED_WELL
        if well:
            self._acknowledge(unused)
        return self._handing.finished(request.request_id, well=well)

    def close(self) -> None:
        self._door.close()

    def _acknowledge(self, ticket: Ticket | None) -> None:
        """This reader needs it no more."""
        if ticket is not None:
            self._door.tell("ack", {"ticket": ticket.to_json()})

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
        if why := why_not_plain(request):
            return f"not_plain_tokens: {why}"
        if ticket.format.geometry != self._geometry:
            return f"geometry_mismatch: {ticket.format.geometry}; this engine has {self._geometry}"
        if ticket.format.tokens != request.num_prompt_tokens or ticket.binding != self._bind(
            request.prompt_token_ids or []
        ):
            return "binding_mismatch: the ticket is over another model or other tokens"
        return ""
