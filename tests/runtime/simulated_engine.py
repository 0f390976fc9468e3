"""An engine whose ranks are ours: workers of the connector with caches of any shape, at the door of a real agent."""

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, count, pairwise, product
from typing import Any

import torch
from torch import Tensor

from runtime.codec import reference
from runtime.codec.protocol import TORCH_DTYPE
from runtime.connector.jobs import Load, Save, Share, Step
from runtime.connector.layouts import page_layout, read, write
from runtime.connector.worker import WorkerSide
from runtime.relay.door import AgentDoor
from runtime.relay.ticket import format_json
from runtime.tiles.format import KvFormat
from runtime.tiles.geometry import Geometry, Parts

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, while vLLM is imported
    from runtime.connector.model import heads_of

WAIT_S = 20.0
_NUMBERS = count()


@dataclass(frozen=True, slots=True)
class Shape:
    """How an engine is spread, and how it keeps KV: TP, layers of each stage, tokens a block, attention backend."""

    tp: int
    stages: tuple[int, ...]
    block_size: int = 64
    pages: tuple[str, str] = ("CPU_ATTN", "vec")

    def shares(self, kv_heads: int) -> list[Share]:
        """By rank, in vLLM's order."""
        layers = pairwise(accumulate(self.stages, initial=0))
        return [Share(own, *heads_of(kv_heads, self.tp, slot)) for own, slot in product(layers, range(self.tp))]


class CountingCodec:
    """The reference, and how many bytes of payloads it made."""

    def __init__(self) -> None:
        self.payload_bytes = 0

    def encode_tiles(self, geometry: Geometry, parts: Parts, keys: Tensor, values: Tensor) -> Tensor:
        made = reference.encode_tiles(geometry, parts, keys, values)
        self.payload_bytes += made.nbytes
        return made

    def decode_tiles(self, geometry: Geometry, parts: Parts, payload: Tensor) -> tuple[Tensor, Tensor]:
        return reference.decode_tiles(geometry, parts, payload)


class SimulatedEngine:
    """`shape` over a model's KV, for one prompt of `tokens` tokens, in blocks that do not lie in order."""

    def __init__(self, agent_socket: str, shape: Shape, geometry: Geometry, tokens: int) -> None:
        self.codec = CountingCodec()
        self._tokens, self._geometry, self._layout = tokens, geometry, page_layout(*shape.pages)
        needed = -(-tokens // shape.block_size)
        shuffled = torch.randperm(needed + 2, generator=torch.Generator().manual_seed(tokens))
        self._blocks = tuple(shuffled[:needed].tolist())
        self._shares = shape.shares(geometry.kv_heads)
        self._caches = [self._cache(share, (needed + 2, shape.block_size)) for share in self._shares]
        owner = f"engine-{next(_NUMBERS)}"
        self._door = _door(agent_socket, owner, None)
        self._ranks = [
            WorkerSide(
                _door(agent_socket, owner, rank),
                share=share,
                layout=self._layout,
                caches=caches,
                block_size=shape.block_size,
                fetch_timeout_s=WAIT_S,
                codec=self.codec,
            )
            for rank, (share, caches) in enumerate(zip(self._shares, self._caches, strict=True))
        ]

    def compute(self, kv: Tensor) -> None:
        """What a forward pass would leave behind: `kv` is `[layers, K and V, heads, tokens, channels]`."""
        for share, caches in zip(self._shares, self._caches, strict=True):
            for layer, cache in caches.items():
                keys, values = kv[layer, :, slice(*share.heads)].unsqueeze(1)
                write(self._layout, [cache], torch.tensor(self._blocks), keys, values)

    def reserve(self, kv_format: KvFormat) -> tuple[dict[str, Any], Save]:
        """A pending ticket, and what every rank is to encode for it."""
        fields = {"format": format_json(kv_format), "binding": "b", "ranks": len(self._ranks), "readers": 1}
        answer = self._door.call("reserve", fields, timeout_s=WAIT_S)
        ticket: dict[str, Any] = answer["ticket"]
        every = (0, kv_format.groups)
        save = Save(ticket["ticket"], kv_format, every, self._blocks, 0, answer["offset"], answer["boot"])
        return ticket, save

    def encode(self, save: Save) -> None:
        for rank in self._ranks:
            rank.saver.finish(Step(saves=[save]))

    def ask(self, ticket: dict[str, Any], kv_format: KvFormat) -> int:
        """Every rank asks for its tiles; how many ranks that are."""
        for rank in self._ranks:
            rank.start(Step(loads=[Load("d", ticket, kv_format, self._blocks, 0)]))
        return len(self._ranks)

    def wait(self, ticket: dict[str, Any]) -> bool:
        """Whether every rank got its tiles; the ticket is read."""
        loaded = [_loads(rank) for rank in self._ranks]
        self._door.call("ack", {"ticket": ticket}, timeout_s=WAIT_S)
        return all(loaded)

    def held(self) -> Iterator[tuple[Share, Tensor]]:
        """What each rank has now of the prompt, in the form of `compute`."""
        for share, caches in zip(self._shares, self._caches, strict=True):
            parts = read(self._layout, list(caches.values()), torch.tensor(self._blocks), self._tokens)
            yield share, torch.stack(parts, dim=1)

    def close(self) -> None:
        self._door.close()
        for rank in self._ranks:
            rank.close()

    def _cache(self, share: Share, blocks_of_tokens: tuple[int, int]) -> dict[int, Tensor]:
        """By layer; full of what nobody computed."""
        blocks, slots = blocks_of_tokens
        pages = (blocks, share.heads[1] - share.heads[0], slots, 2 * self._geometry.head_dim)
        dtype = TORCH_DTYPE[self._geometry.dtype]
        return {layer: torch.full(pages, 9.0, dtype=dtype) for layer in range(*share.layers)}


def _door(agent_socket: str, owner: str, rank: int | None) -> AgentDoor:
    door = AgentDoor(agent_socket, owner=owner, rank=rank)
    door.open()
    door.call("note", {"what": "here"}, timeout_s=WAIT_S)
    return door


def _loads(rank: WorkerSide) -> bool:
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        outcome = rank.outcome()
        if outcome.received:
            return not outcome.failed
        time.sleep(0.002)
    return False
