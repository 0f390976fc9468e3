"""The connector in one of vLLM's workers: copy blocks out and encode them, fetch tiles and fill blocks.

Blocks of a finished request are copied out within the step and reported sent at once, so that vLLM frees them;
encoding and fetching run in threads. A rank reports every request it was given, also one that failed: the scheduler
waits for all ranks. On a GPU blocks are encoded there within the step, so that only tiles go to host memory.
"""

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from planner.errors import KvTransferError
from runtime.codec import reference
from runtime.codec.protocol import TileCodec
from runtime.codec.rows import BATCH_BYTES, GPU_BATCH_BYTES, Rows, decode, frame, payloads, rows_of
from runtime.connector.jobs import Load, Save, Step
from runtime.connector.layouts import PageLayout, read, write
from runtime.connector.side_stream import Mark, SideStream
from runtime.relay.door import AgentDoor
from runtime.relay.patience import longest_s
from runtime.tiles.box import Box
from runtime.tiles.format import KvFormat
from runtime.tiles.geometry import GROUP_TOKENS
from runtime.tiles.layout import Layout

FETCH_THREADS = 4
ANSWER_S = 5.0
REST_S = 0.002
LIMIT_STAGED_BYTES = 2 << 30

logger = logging.getLogger("vllm.thunder")

Staged = list[tuple[Rows, list[Tensor]]]
"""K and V, or, where they lay on a GPU, the payloads they became."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a rank owns of the model's KV: ranges of layers and KV heads. Of ranks that share a head one `writes`."""

    layers: tuple[int, int]
    heads: tuple[int, int]
    writes: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """Requests that a rank is done with since it was asked last; `failed` are among `received`."""

    sent: set[str]
    received: set[str]
    failed: set[str]


class WorkerSide:
    """One per rank. `caches` are its KV tensors by global layer; `block_size` is the scheduler's, in tokens."""

    def __init__(
        self,
        door: AgentDoor,
        *,
        share: Share,
        layout: PageLayout,
        caches: Mapping[int, Tensor],
        block_size: int,
        fetch_timeout_s: float,
        codec: TileCodec = reference,
    ) -> None:
        self._door = door
        self._codec = codec
        self._share = share
        self._layout = layout
        self._caches = caches
        self._block_size = block_size
        self._fetch_timeout_s = fetch_timeout_s
        self._encoders = ThreadPoolExecutor(1, "thunder-encode")
        self._fetchers = ThreadPoolExecutor(FETCH_THREADS, "thunder-fetch")
        self._lock = threading.Lock()
        self._loaded = threading.Condition(self._lock)
        self._loading = 0
        self._outcome = Outcome(set(), set(), set())
        self._staged_bytes = 0
        device = next(iter(caches.values())).device
        self._device = device
        self._on_gpu = device.type == "cuda"
        self._batch_bytes = GPU_BATCH_BYTES if self._on_gpu else BATCH_BYTES
        self._beside = SideStream(device)

    def start(self, step: Step) -> None:
        """Begin what a step asks for; only copying out is done when this returns."""
        for save in step.saves:
            self._save(save)
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
            done, self._outcome = self._outcome, Outcome(set(), set(), set())
            return done

    def close(self) -> None:
        for pool in (self._encoders, self._fetchers):
            pool.shutdown(wait=False, cancel_futures=True)
        self._door.close()

    def _save(self, save: Save) -> None:
        try:
            self._admit(save)
            self._encoders.submit(self._encode, save, self._stage(save))
        except KvTransferError as error:
            self._encode_failed(save, error)
        except Exception as error:
            logger.exception("Copying request %s out failed", save.request_id)
            self._encode_failed(save, error)
        with self._lock:
            self._outcome.sent.add(save.request_id)

    def _admit(self, save: Save) -> None:
        with self._lock:
            if self._staged_bytes > LIMIT_STAGED_BYTES:
                raise KvTransferError(f"{self._staged_bytes} bytes wait to be encoded; expected {LIMIT_STAGED_BYTES}.")

    def _stage(self, save: Save) -> Staged:
        """Copies in memory of what this rank has of a prompt, as it is encoded together."""
        if not self._share.writes:
            return []
        blocks = self._cache_blocks(save.block_ids)
        layout, staged = Layout(save.format, save.format.whole), []
        for rows in rows_of(layout, self._box(save.format), self._batch_bytes):
            kv = read(self._layout, self._caches_of(rows), blocks, save.format.tokens)
            copied = [payload.cpu() for payload in payloads(rows, *kv, self._codec)] if self._on_gpu else list(kv)
            staged.append((rows, copied))
        with self._lock:
            self._staged_bytes += _size(staged)
        return staged

    def _encode(self, save: Save, staged: Staged) -> None:
        """In the encoder's thread. Whatever happens, the agent hears of it."""
        started = time.monotonic()
        try:
            session = self._door.session()
            if session.boot != save.boot:
                raise KvTransferError("The agent has restarted, and the ticket's bytes are gone.")
            for rows, copied in staged:
                into = session.memory.view(save.offset + rows.offset, rows.size)
                encoded = copied if self._on_gpu else payloads(rows, copied[0], copied[1], self._codec)
                frame(rows, encoded, into, bytes.fromhex(save.ticket))
            session.tell("encoded", {"ticket": save.ticket, "seconds": time.monotonic() - started})
        except KvTransferError as error:
            self._encode_failed(save, error)
        except Exception as error:
            logger.exception("Encoding request %s failed", save.request_id)
            self._encode_failed(save, error)
        finally:
            with self._lock:
                self._staged_bytes -= _size(staged)

    def _encode_failed(self, save: Save, error: Exception) -> None:
        logger.warning("Request %s is not handed on: %s", save.request_id, error)
        self._door.tell("encode_failed", {"ticket": save.ticket, "reason": str(error)})

    def _load(self, load: Load, deadline: float, computed: Mark) -> None:
        """In a fetcher's thread. Whatever happens, the scheduler hears of it."""
        failed = True
        try:
            tiles = self._fetch(load, deadline)
            with self._beside.after(computed):
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
                self._loaded.notify()

    def _fetch(self, load: Load, deadline: float) -> bytearray:
        """A private copy of this rank's tiles, so that nobody can change them between check and use."""
        if load.first_token % self._block_size:
            raise KvTransferError(f"A load starts at token {load.first_token}, within a block.")
        if time.monotonic() > deadline:
            raise KvTransferError(f"Other loads took the {self._fetch_timeout_s:g} s that this one had to begin.")
        session, box = self._door.session(), self._box(load.format, load.first_token)
        fields = {"ticket": load.ticket, "box": box.row, "timeout_s": self._fetch_timeout_s}
        longest = longest_s(Layout(load.format, box).size, self._fetch_timeout_s)
        answer = session.call("fetch", fields, timeout_s=longest + ANSWER_S)
        tiles = bytearray(session.memory.view(answer["offset"], answer["length"]))
        session.tell("release", {"offset": answer["offset"]})
        return tiles

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


def _size(staged: Staged) -> int:
    return sum(part.nbytes for _, copied in staged for part in copied)
