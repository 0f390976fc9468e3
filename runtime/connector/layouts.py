"""Pages of the attention backends, to K and V in canonical order and back.

A page tensor is logically `[blocks, heads, slots, 2 x channels]` in every backend; what its last two axes hold differs.
K and V come out, and go in, as `[blocks, heads, slots, channels]`.

Run on CPU engines: the ISAs `vec` and `vec16`. Read in vLLM's source and checked on made-up pages only: `amx`, and the
view that FlashAttention, Triton, FlashInfer and FlexAttention share. Whatever the layout, an engine starts only when
`self_test` has read back what the backend's own operation wrote.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from planner.errors import KvTransferError

AMX_TOKENS = 16


class LayoutUnknown(KvTransferError):
    """KV can't be read from this backend's pages: the engine must not start with the connector."""


@dataclass(frozen=True, slots=True)
class PageLayout:
    """How one backend keeps a block. Both functions copy."""

    name: str
    unpack: Callable[[Tensor], tuple[Tensor, Tensor]]
    pack: Callable[[Tensor, Tensor], Tensor]


def page_layout(backend: str, isa: str = "") -> PageLayout:
    """The layout of a backend by its name in vLLM, on CPU also by its ISA. Raises LayoutUnknown."""
    if backend in ("FLASH_ATTN", "TRITON_ATTN", "FLASHINFER", "FLEX_ATTENTION"):
        return PageLayout(backend, _unpack_side_by_side, _pack_side_by_side)
    if backend == "CPU_ATTN" and isa in ("vec", "vec16"):
        return PageLayout(f"{backend}/{isa}", _unpack_vec, _pack_vec)
    if backend == "CPU_ATTN" and isa == "amx":
        return PageLayout(f"{backend}/{isa}", _unpack_amx, _pack_amx)
    raise LayoutUnknown(
        f"The attention backend {backend} {isa} keeps KV in a way that the connector can't read.",
        hint="Choose another backend with --attention-backend.",
    )


def read(layout: PageLayout, caches: Sequence[Tensor], block_ids: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """K and V of the first `tokens` tokens of some blocks, each `[layers, heads, tokens, channels]`, copied.

    `caches` are those of some layers; what they hold of a prompt lies in the same blocks.
    """
    pages = torch.cat([cache.index_select(0, block_ids) for cache in caches])
    keys, values = (_by_token(part, len(caches)) for part in layout.unpack(pages))
    return keys[:, :, :tokens], values[:, :, :tokens]


def write(layout: PageLayout, caches: Sequence[Tensor], block_ids: Tensor, keys: Tensor, values: Tensor) -> None:
    """The inverse; slots of the last block behind the last token become 0 (nothing has computed them yet)."""
    slots = caches[0].shape[2]
    pages = layout.pack(_by_block(keys, slots), _by_block(values, slots))
    for cache, page in zip(caches, pages.chunk(len(caches)), strict=True):
        cache.index_copy_(0, block_ids, page)


def self_test(layout: PageLayout, attention: Any, cache: Tensor) -> None:
    """Write known K and V through the backend's own operation, read them through the layout, and the other way round.

    `attention` is vLLM's attention layer that `cache` belongs to. Works on two blocks of its own of the same strides.
    Raises LayoutUnknown on a difference.
    """
    scratch = cache[:2].clone(memory_format=torch.preserve_format).zero_()
    _, heads, slots, content = scratch.shape
    tokens = slots + slots // 2
    known = torch.arange(2 * tokens * heads * content // 2, device=cache.device) % 251 - 125
    keys, values = known.to(cache.dtype).view(2, tokens, heads, content // 2)
    mapping = torch.arange(tokens, dtype=torch.int64, device=cache.device)
    attention.impl.do_kv_cache_update(attention, keys.contiguous(), values.contiguous(), scratch, mapping)
    blocks = torch.tensor([0, 1], device=cache.device)
    seen_keys, seen_values = read(layout, [scratch], blocks, tokens)
    rewritten = torch.zeros_like(scratch)
    write(layout, [rewritten], blocks, seen_keys, seen_values)
    same = torch.equal(seen_keys[0].transpose(0, 1), keys) and torch.equal(seen_values[0].transpose(0, 1), values)
    if not (same and torch.equal(rewritten, scratch)):
        raise LayoutUnknown(
            f"KV written by {layout.name} is not what its layout reads: pages {tuple(cache.shape)}, "
            f"strides {cache.stride()}, {cache.dtype}.",
            hint="This vLLM keeps KV otherwise than the version that the connector was written for.",
        )


def _by_token(part: Tensor, layers: int) -> Tensor:
    """`[layers x blocks, heads, slots, channels]` to `[layers, heads, tokens, channels]`."""
    return part.unflatten(0, (layers, -1)).transpose(1, 2).flatten(2, 3)


def _by_block(part: Tensor, slots: int) -> Tensor:
    layers, heads, tokens, dim = part.shape
    blocks = -(-tokens // slots)
    padded = part.new_zeros(layers, heads, blocks * slots, dim)
    padded[:, :, :tokens] = part
    return padded.view(layers, heads, blocks, slots, dim).transpose(1, 2).flatten(0, 1)


def _unpack_side_by_side(pages: Tensor) -> tuple[Tensor, Tensor]:
    """A slot is K's channels, then V's."""
    dim = pages.shape[-1] // 2
    return pages[..., :dim], pages[..., dim:]


def _pack_side_by_side(keys: Tensor, values: Tensor) -> Tensor:
    return torch.cat((keys, values), dim=-1)


def _halves(pages: Tensor) -> tuple[Tensor, Tensor]:
    """On CPU the first half of a head's page is K's and the second V's, each as one run of numbers."""
    blocks, heads, slots, content = pages.shape
    keys, values = pages.reshape(blocks, heads, 2, slots * content // 2).unbind(2)
    return keys, values


def _joined(keys: Tensor, values: Tensor, slots: int) -> Tensor:
    """The inverse, of two tensors whose axes behind the second are the run in order."""
    joined = torch.stack((keys.flatten(2), values.flatten(2)), dim=2)
    return joined.view(*keys.shape[:2], slots, -1)


def _unpack_vec(pages: Tensor) -> tuple[Tensor, Tensor]:
    """K by (channel, slot), V by (slot, channel)."""
    blocks, heads, slots, content = pages.shape
    keys, values = _halves(pages)
    return keys.view(blocks, heads, content // 2, slots).transpose(2, 3), values.view(blocks, heads, slots, -1)


def _pack_vec(keys: Tensor, values: Tensor) -> Tensor:
    return _joined(keys.transpose(2, 3), values, keys.shape[2])


def _unpack_amx(pages: Tensor) -> tuple[Tensor, Tensor]:
    """K by (16 slots, channel pair, slot, channel), V by (16 channels, slot pair, channel, slot)."""
    blocks, heads, slots, content = pages.shape
    dim, (keys, values) = content // 2, _halves(pages)
    keys = keys.view(blocks, heads, slots // AMX_TOKENS, dim // 2, AMX_TOKENS, 2).transpose(3, 4)
    values = values.view(blocks, heads, dim // AMX_TOKENS, slots // 2, AMX_TOKENS, 2).permute(0, 1, 3, 5, 2, 4)
    return keys.reshape(blocks, heads, slots, dim), values.reshape(blocks, heads, slots, dim)


def _pack_amx(keys: Tensor, values: Tensor) -> Tensor:
    blocks, heads, slots, dim = keys.shape
    keys = keys.reshape(blocks, heads, slots // AMX_TOKENS, AMX_TOKENS, dim // 2, 2).transpose(3, 4)
    values = values.reshape(blocks, heads, slots // 2, 2, dim // AMX_TOKENS, AMX_TOKENS).permute(0, 1, 4, 2, 5, 3)
    return _joined(keys, values, slots)
