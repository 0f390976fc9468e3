"""Pages of each backend, to canonical K and V and back; on the CPU through vLLM's own operation."""

from types import SimpleNamespace

import pytest
import torch
from vllm import _custom_ops as ops

from runtime.connector.layouts import LayoutUnknown, page_layout, read, self_test, write

pytestmark = pytest.mark.engine_env

LAYERS, BLOCKS, HEADS, SLOTS, DIM = 3, 6, 2, 128, 64
KINDS = [("CPU_ATTN", "vec"), ("CPU_ATTN", "vec16"), ("CPU_ATTN", "amx"), ("FLASH_ATTN", ""), ("TRITON_ATTN", "")]


def cpu_attention(isa):
    """As much of vLLM's attention layer as writing to the cache takes (`CPUAttentionBackendImpl`)."""

    def do_kv_cache_update(layer, key, value, kv_cache, slot_mapping):
        blocks, heads, slots, _ = kv_cache.size()
        caches = kv_cache.view(blocks, heads, slots * 2, -1).chunk(2, dim=2)
        ops.cpu_attn_reshape_and_cache(key, value, *caches, slot_mapping, layer.isa)

    return SimpleNamespace(isa=isa, impl=SimpleNamespace(do_kv_cache_update=do_kv_cache_update))


def flash_attention():
    """FlashAttention's view of a page (`kv_cache.transpose(1, 2).split(head_size, dim=-1)`), written slot by slot."""

    def do_kv_cache_update(_layer, key, value, kv_cache, slot_mapping):
        slots, dim = kv_cache.shape[2], kv_cache.shape[3] // 2
        keys, values = kv_cache.transpose(1, 2).split(dim, dim=-1)
        keys[slot_mapping // slots, slot_mapping % slots] = key
        values[slot_mapping // slots, slot_mapping % slots] = value

    return SimpleNamespace(impl=SimpleNamespace(do_kv_cache_update=do_kv_cache_update))


def cache_of(dtype=torch.float16, blocks=BLOCKS):
    return torch.zeros(blocks, HEADS, SLOTS, 2 * DIM, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("isa", ["vec", "vec16"])
def test_what_the_cpu_backend_writes_is_read(isa, dtype):
    self_test(page_layout("CPU_ATTN", isa), cpu_attention(isa), cache_of(dtype))


def test_what_the_amx_backend_writes_is_read():
    if not torch.ops._C.cpu_attn_has_isa("amx"):
        pytest.skip("this build of vLLM has no AMX kernels")
    self_test(page_layout("CPU_ATTN", "amx"), cpu_attention("amx"), cache_of(torch.bfloat16))


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3)], ids=["heads first", "slots first"])
def test_a_page_of_k_beside_v_is_read_whatever_its_strides(order):
    shape = [(BLOCKS, HEADS, SLOTS, 2 * DIM)[axis] for axis in order]
    cache = torch.zeros(shape, dtype=torch.bfloat16).permute(order)
    assert cache.shape == (BLOCKS, HEADS, SLOTS, 2 * DIM)
    self_test(page_layout("FLASH_ATTN"), flash_attention(), cache)


@pytest.mark.parametrize(("written", "taken_for"), [("vec", "amx"), ("vec", "flash")])
def test_an_engine_does_not_start_on_pages_that_read_wrong(written, taken_for):
    layout = page_layout("FLASH_ATTN") if taken_for == "flash" else page_layout("CPU_ATTN", taken_for)
    with pytest.raises(LayoutUnknown, match="not what its layout reads"):
        self_test(layout, cpu_attention(written), cache_of())


@pytest.mark.parametrize(("backend", "isa"), [("CPU_ATTN", "neon"), ("CPU_ATTN", ""), ("TRITON_MLA", ""), ("B12X", "")])
def test_other_backends_are_refused_by_name(backend, isa):
    with pytest.raises(LayoutUnknown, match=backend):
        page_layout(backend, isa)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", [1, 127, 128, 129, 300])
def test_tokens_written_are_read_back_and_other_blocks_stay(kind, tokens):
    layout, caches = page_layout(*kind), [cache_of().fill_(7) for _ in range(LAYERS)]
    keys, values = torch.randn(2, LAYERS, HEADS, tokens, DIM).half()
    blocks = torch.tensor([4, 0, 2])[: -(-tokens // SLOTS)]
    write(layout, caches, blocks, keys, values)
    read_keys, read_values = read(layout, caches, blocks, tokens)
    assert torch.equal(read_keys, keys)
    assert torch.equal(read_values, values)
    others = [block for block in range(BLOCKS) if block not in blocks.tolist()]
    assert all((cache[others] == 7).all() for cache in caches)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_read_together_as_each_is_alone(kind):
    layout, caches = page_layout(*kind), list(torch.randn(LAYERS, BLOCKS, HEADS, SLOTS, 2 * DIM).half())
    blocks = torch.tensor([5, 1])
    together = read(layout, caches, blocks, 200)
    alone = zip(*(read(layout, [cache], blocks, 200) for cache in caches), strict=True)
    assert all(torch.equal(part, torch.cat(parts)) for part, parts in zip(together, alone, strict=True))
