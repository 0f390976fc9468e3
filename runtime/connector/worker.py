"""The connector in one of vLLM's workers: fetch tiles and fill blocks; what it computed it hands on (`saving.py`).

Fetching runs in threads. A rank reports every load it was given, also one that failed: the scheduler waits for all
ranks.
"""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from planner.errors import KvTransferError
from runtime.codec import reference
from runtime.codec.protocol import TileCodec
from runtime.codec.rows import BATCH_BYTES, GPU_BATCH_BYTES, Rows, decode, rows_of
from runtime.connector.copies import Copies
from runtime.connector.jobs import Load, Share, Step
from runtime.connector.layouts import PageLayout, write
from runtime.connector.saving import Saver
from runtime.connector.side_stream import Mark, SideStream
from runtime.relay.door import AgentDoor
from runtime.tiles.box import Box
from runtime.tiles.format import KvFormat
from runtime.tiles.geometry import GROUP_TOKENS
from runtime.tiles.layout import Layout

FETCH_THREADS = 64
"""Most of them wait: for a prompt that is being computed, and for the line."""
FILLING = 8
"""Of them may decode tiles at a time."""
REST_S = 0.002

logger = logging.getLogger("vllm.thunder")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Requests that a rank is done with since it was asked last; `failed` are among `received`."""

    received: set[str]
    failed: set[str]


class WorkerSide:
    """One per rank. `caches` are its KV tensors by global layer; `block_size` is the scheduler's, in tokens.

    The engine's `ranks` together hold copies of tiles of no more bytes than the agent's pool, or each a single copy.
    """

    def __init__(
        self,
        door: AgentDoor,
        *,
        share: Share,
        layout: PageLayout,
        caches: Mapping[int, Tensor],
        block_size: int,
        fetch_timeout_s: float,
        ranks: int = 1,
        codec: TileCodec = reference,
    ) -> None:
        self._door = door
        self._codec = codec
        self._share = share
        self._layout = layout
        self._caches = caches
        self._block_size = block_size
        self._fetch_timeout_s = fetch_timeout_s
        self._ranks = ranks
        self._copies = Copies()
        self.saver = Saver(
            door, share=share, layout=layout, caches=caches, cache_blocks=self._cache_blocks, codec=codec
        )
        self._fetchers = ThreadPoolExecutor(FETCH_THREADS, "thunder-fetch")
        self._filling = threading.Semaphore(FILLING)
        self._lock = threading.Lock()
        self._loaded = threading.Condition(self._lock)
        self._loading = 0
        self._came_at = 0.0
        self._outcome = Outcome(set(), set())
        device = next(iter(caches.values())).device
        self._device = device
        self._on_gpu = device.type == "cuda"
        self._batch_bytes = GPU_BATCH_BYTES if self._on_gpu else BATCH_BYTES
        self._beside = SideStream(device)

    def start(self, step: Step) -> None:
        """Begin the loads that a step asks for."""
        if not step.loads:
            return
        computed, deadline = self._beside.mark(), time.monotonic() + self._fetch_timeout_s
        with self._lock:
            self._loading += len(step.loads)
        for load in step.loads:
            self._fetchers.submit(self._load, load, deadline, computed)

    def rest(self, step: Step) -> None:
        """In a step without work for the model, wait a moment for a load to end, or for a request's turn.

        vLLM steps without pause while requests wait, which takes the very core that decodes their tiles.
        """
        with self._lock:
            if (self._loading or step.waits) and not self._outcome.received:
                self._loaded.wait(REST_S)

    def outcome(self) -> Outcome:
        with self._lock:
            done, self._outcome = self._outcome, Outcome(set(), set())
            return done

    def close(self) -> None:
        self.saver.close()
        self._fetchers.shutdown(wait=False, cancel_futures=True)
        self._door.close()

    def _load(self, load: Load, deadline: float, computed: Mark) -> None:
        """In a fetcher's thread. Whatever happens, the scheduler hears of it."""
        failed = True
        try:
            with self._fetch(load, deadline) as tiles, self._filling, self._beside.after(computed):
                self._fill(load, tiles)
            failed = False
        except KvTransferError as error:
            logger.warning("Request %s is computed here, its KV did not come: %s", load.request_id, error)
        except Exception:
            logger.exception("Loading request %s failed; it is computed here", load.request_id)
            self._door.tell("note", {"what": "load_crashed"})
        finally:
            with self._lock:
                self._loading -= 1
                self._outcome.received.add(load.request_id)
                if failed:
                    self._outcome.failed.add(load.request_id)
                else:
                    self._came_at = time.monotonic()
                self._loaded.notify()

    @contextmanager
    def _fetch(self, load: Load, deadline: float) -> Iterator[bytearray]:
        """A private copy of this rank's tiles, so that nobody can change them between check and use.

        Until there may be one more copy the tiles stay in the agent's pool, and what does not fit there waits.
        """
        if load.first_token % self._block_size:
            raise KvTransferError(f"A load starts at token {load.first_token}, within a block.")
        if time.monotonic() > max(deadline, self._came_at + self._fetch_timeout_s):  # As long as others come, it waits.
            raise KvTransferError(f"No other load came in the {self._fetch_timeout_s:g} s that this one had to begin.")
        session, box = self._door.session(), self._box(load.format, load.first_token)
        fields = {"ticket": load.ticket, "box": box.row, "timeout_s": self._fetch_timeout_s}
        answer = session.call_patiently("fetch", fields, every_s=self._fetch_timeout_s)
        with self._copies.one_more(answer["length"], within=session.memory.size // self._ranks):
            tiles = bytearray(session.memory.view(answer["offset"], answer["length"]))
            session.tell("release", {"offset": answer["offset"]})
            yield tiles

    def _fill(self, load: Load, tiles: bytearray) -> None:
        """Decode and scatter; blocks before `first_token` are of a local prefix hit, and others may read them."""
        box = self._box(load.format, load.first_token)
        skipped = load.first_token - box.groups[0] * GROUP_TOKENS
        blocks = self._cache_blocks(load.block_ids[load.first_token // self._block_size :])
        view, tag = memoryview(tiles), bytes.fromhex(load.ticket["ticket"])
        for rows in rows_of(Layout(load.format, box), box, self._batch_bytes):
            frames = view[rows.offset : rows.offset + rows.size]
            parts = decode(rows, frames, tag, self._codec, self._device)
            keys, values = (part[:, :, skipped:] for part in parts)
            write(self._layout, self._caches_of(rows), blocks, keys, values)

    def _box(self, kv_format: KvFormat, first_token: int = 0) -> Box:
        """This rank's tiles of a ticket, from the group of a token on."""
        return Box(self._share.layers, self._share.heads, (first_token // GROUP_TOKENS, kv_format.groups))

    def _caches_of(self, rows: Rows) -> list[Tensor]:
        return [self._caches[layer] for layer in range(*rows.box.layers)]

    def _cache_blocks(self, block_ids: tuple[int, ...]) -> Tensor:
        """The scheduler's blocks in the tensors' own, which may be several to one."""
        ratio = self._block_size // next(iter(self._caches.values())).shape[2]
        ids = torch.tensor(block_ids, dtype=torch.int64).unsqueeze(1) * ratio + torch.arange(ratio)
        return ids.flatten().to(self._device)
