"""One rank's part in handing prompts on: copy out what a step computed, and encode it into the agent's pool.

Blocks are copied out within the step, so that nobody has to hold them: on a CPU layer by layer as the model computes
them, where that was ordered, else when the model is through (its layer hooks are not called inside full CUDA graphs).
Encoding runs in a thread. On a GPU blocks are encoded there within the step, so that only tiles go to host memory.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from torch import Tensor

from planner.errors import KvTransferError
from runtime.codec import reference
from runtime.codec.protocol import TileCodec
from runtime.codec.rows import BATCH_BYTES, GPU_BATCH_BYTES, Rows, frame, payloads, rows_of
from runtime.connector.jobs import Save, Share, Step
from runtime.connector.layouts import PageLayout, read
from runtime.relay.door import AgentDoor
from runtime.tiles.box import Box
from runtime.tiles.geometry import GROUP_TOKENS
from runtime.tiles.layout import Layout

LIMIT_STAGED_BYTES = 2 << 30

logger = logging.getLogger("vllm.thunder")

Staged = list[tuple[Rows, list[Tensor]]]
"""K and V, or, where they lay on a GPU, the payloads they became."""

Range = tuple[int, int]


class Saver:
    """`caches` are a rank's KV tensors by global layer, `cache_blocks` the scheduler's blocks in them.

    Everything that is said to the agent of a ticket is said by the thread that encodes, in order: when it says that
    this rank is done or has failed, nothing of it is written after.
    """

    def __init__(
        self,
        door: AgentDoor,
        *,
        share: Share,
        layout: PageLayout,
        caches: Mapping[int, Tensor],
        cache_blocks: Callable[[tuple[int, ...]], Tensor],
        codec: TileCodec = reference,
    ) -> None:
        self._door = door
        self._share = share
        self._layout = layout
        self._caches = caches
        self._cache_blocks = cache_blocks
        self._codec = codec
        self._on_gpu = next(iter(caches.values())).device.type == "cuda"
        self._batch_bytes = GPU_BATCH_BYTES if self._on_gpu else BATCH_BYTES
        self._encoders = ThreadPoolExecutor(1, "thunder-encode")
        self._lock = threading.Lock()
        self._staged_bytes = 0
        self._computed: set[int] = set()
        self._failed: set[str] = set()
        self._sessions: dict[str, object] = {}

    def computed(self, layer: int, step: Step) -> None:
        """Within a step: the model is through with a layer."""
        if self._on_gpu or layer in self._computed:
            return
        self._computed.add(layer)
        for save in step.saves:
            if save.by_layer:
                self._save(save, (layer, layer + 1))

    def finish(self, step: Step, fault: BaseException | None = None) -> None:
        """At the end of a step, well or with a `fault`. What it computed is copied out when this returns."""
        broken = self._broken(fault)
        for save in step.saves:
            if broken:
                self._encoders.submit(self._fail, save.ticket, broken)
            elif not (save.by_layer and self._computed):
                self._save(save, self._share.layers)
            if save.last:
                self._encoders.submit(self._end, save.ticket)
        for ticket in step.abandoned:
            self._encoders.submit(self._fail, ticket, "its request has ended early")
            self._encoders.submit(self._forget, ticket)
        self._computed.clear()

    def close(self) -> None:
        self._encoders.shutdown(wait=False, cancel_futures=True)

    def _broken(self, fault: BaseException | None) -> str:
        """Why what a step should have computed may not be there; empty when it is. A model calls all hooks or none."""
        if fault is not None:
            return f"the step broke: {fault!r}"
        missing = set(range(*self._share.layers)) - self._computed
        return f"the step left out layers {sorted(missing)}" if self._computed and missing else ""

    def _save(self, save: Save, layers: Range) -> None:
        if not self._share.writes:
            return
        box = Box(layers, self._share.heads, save.groups)
        try:
            self._sessions.setdefault(save.ticket, self._door.session())
            staged = self._stage(save, box)
        except KvTransferError as error:
            self._encoders.submit(self._fail, save.ticket, error.message)
        except Exception as error:
            logger.exception("Copying KV of ticket %s out failed", save.ticket)
            self._encoders.submit(self._fail, save.ticket, str(error))
        else:
            self._encoders.submit(self._encode, save, box, staged)

    def _stage(self, save: Save, box: Box) -> Staged:
        """Copies in memory of some groups of a prompt, as they are encoded together."""
        with self._lock:
            if self._staged_bytes > LIMIT_STAGED_BYTES:
                raise KvTransferError(f"{self._staged_bytes} bytes wait to be encoded; expected {LIMIT_STAGED_BYTES}.")
        blocks = self._cache_blocks(save.block_ids)
        stop = min(box.groups[1] * GROUP_TOKENS, save.format.tokens) - save.first_token
        skipped = box.groups[0] * GROUP_TOKENS - save.first_token
        staged: Staged = []
        for rows in rows_of(Layout(save.format, save.format.whole), box, self._batch_bytes):
            caches = [self._caches[layer] for layer in range(*rows.box.layers)]
            keys, values = (part[:, :, skipped:] for part in read(self._layout, caches, blocks, stop))
            copied = [keys, values]
            if self._on_gpu:
                copied = [payload.cpu() for payload in payloads(rows, keys, values, self._codec)]
            staged.append((rows, copied))
        with self._lock:
            self._staged_bytes += _size(staged)
        return staged

    def _encode(self, save: Save, box: Box, staged: Staged) -> None:
        """In the encoder's thread. Whatever happens, the agent hears of it."""
        started = time.monotonic()
        try:
            if save.ticket in self._failed:
                return
            session = self._door.session()
            if session.boot != save.boot:
                raise KvTransferError("The agent has restarted, and the ticket's bytes are gone.")
            if session is not self._sessions[save.ticket]:
                raise KvTransferError("The agent lost sight of this rank, and may have freed the ticket's bytes.")
            for rows, copied in staged:
                into = session.memory.view(save.offset + rows.offset, rows.size)
                encoded = copied if self._on_gpu else payloads(rows, copied[0], copied[1], self._codec)
                frame(rows, encoded, into, bytes.fromhex(save.ticket))
            seconds = time.monotonic() - started
            session.tell("encoded_part", {"ticket": save.ticket, "box": box.row, "seconds": seconds})
        except KvTransferError as error:
            self._fail(save.ticket, error.message)
        except Exception as error:
            logger.exception("Encoding KV of ticket %s failed", save.ticket)
            self._fail(save.ticket, str(error))
        finally:
            with self._lock:
                self._staged_bytes -= _size(staged)

    def _end(self, ticket: str) -> None:
        """This rank has written all of its share, or has said that it can't."""
        if ticket not in self._failed:
            self._door.tell("encoded", {"ticket": ticket, "seconds": 0.0})
        self._forget(ticket)

    def _forget(self, ticket: str) -> None:
        """Nothing more is ordered of it."""
        self._failed.discard(ticket)
        self._sessions.pop(ticket, None)

    def _fail(self, ticket: str, reason: str) -> None:
        """Once; nothing is written for it from then on."""
        if ticket not in self._failed:
            logger.warning("Ticket %s is not handed on: %s", ticket, reason)
            self._failed.add(ticket)
            self._door.tell("encode_failed", {"ticket": ticket, "reason": reason})


def _size(staged: Staged) -> int:
    return sum(part.nbytes for _, copied in staged for part in copied)
