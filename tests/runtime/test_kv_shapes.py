"""Engines of any two shapes, their ranks simulated, exchange a prompt's KV through two agents over mutual TLS.

Every number of the KV is drawn on its own, so one that came from another head, layer, token or channel would show.
"""

from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise, permutations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from planner.deployment import Codec
from runtime.codec import reference
from runtime.codec.protocol import TORCH_DTYPE
from runtime.tiles.format import KvFormat
from runtime.tiles.frame import HEADER
from runtime.tiles.geometry import GROUP_TOKENS, Geometry
from tests.engine.kv_world import Side, World, soon
from tests.runtime.simulated_engine import Shape, SimulatedEngine
from thunderctl.keys.certificates import ensure_authority

pytestmark = pytest.mark.engine_env

PAGES = [("CPU_ATTN", "vec"), ("CPU_ATTN", "amx"), ("FLASH_ATTN", "")]
BLOCK_SIZES = [16, 32, 64, 128, 256]
CODECS = [Codec.RAW, Codec.INT8, Codec.INT4]
LLAMA = Geometry(layers=8, kv_heads=8, head_dim=64, dtype="bfloat16")
FEW_HEADS = Geometry(layers=6, kv_heads=2, head_dim=64, dtype="float16")
SPREADS = [
    (1, (8,)),
    (8, (8,)),
    (1, (1, 3, 2, 2)),
    (2, (3, 5)),
    (4, (5, 1, 2)),
    (8, (2, 1, 4, 1)),
]


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("kv")
    ensure_authority(folder / "ca")
    with closing(World(folder)) as made:
        made.add("p")
        made.add("d")
        yield made


def random_kv(geometry: Geometry, tokens: int) -> Tensor:
    """`[layers, K and V, heads, tokens, channels]`."""
    shape = (geometry.layers, 2, geometry.kv_heads, tokens, geometry.head_dim)
    return torch.randn(shape, generator=torch.Generator().manual_seed(tokens)).to(TORCH_DTYPE[geometry.dtype])


def round_trip(kv: Tensor, kv_format: KvFormat) -> Tensor:
    """What the codec alone makes of the KV, one group of a layer at a time."""
    restored = torch.empty_like(kv)
    for layer, group in product(range(kv_format.geometry.layers), range(kv_format.groups)):
        parts = kv_format.parts(layer, group)
        window = kv[layer, :, :, group * GROUP_TOKENS : (group + 1) * GROUP_TOKENS]
        payload = reference.encode_tiles(kv_format.geometry, parts, *window)
        tiles = torch.stack(reference.decode_tiles(kv_format.geometry, parts, payload))
        restored[layer, :, :, group * GROUP_TOKENS : (group + 1) * GROUP_TOKENS] = tiles
    return restored


def cross(agents: World, there: Shape, here: Shape, kv_format: KvFormat) -> None:
    """Ask here, then encode there: each rank then has its share, and each tile was encoded and sent once."""
    geometry, tokens, name = kv_format.geometry, kv_format.tokens, f"received_bytes_{kv_format.codec}"
    kv, before = random_kv(geometry, tokens), agents.decode.counted(name)
    prefill = SimulatedEngine(agents.prefill.door.path, there, geometry, tokens)
    decode = SimulatedEngine(agents.decode.door.path, here, geometry, tokens)
    with closing(prefill), closing(decode):
        prefill.compute(kv)
        ticket, save = prefill.reserve(kv_format)
        ranks = decode.ask(ticket, kv_format)
        assert soon(lambda: readers(agents.decode) == ranks)
        prefill.encode(save)
        assert decode.wait(ticket)
        expected = round_trip(kv, kv_format)
        for share, held in decode.held():
            assert torch.equal(held, expected[slice(*share.layers), :, slice(*share.heads)])
    tiles = geometry.layers * geometry.kv_heads * kv_format.groups
    assert prefill.codec.payload_bytes == ticket["bytes"] - tiles * HEADER.size
    assert agents.decode.counted(name) - before == ticket["bytes"]


def readers(side: Side) -> int:
    """Ranks that have asked their agent for tiles and have not read them yet."""
    return sum(fetch.readers for fetch in list(side.relay._fetches._fetches.values()))


@pytest.mark.parametrize(
    ("there", "here"), [(a, SPREADS[(i + step) % 6]) for i, a in enumerate(SPREADS) for step in (1, 2, 5)]
)
def test_any_tp_and_pp_reach_any_others_and_raw_is_exact(agents, there, here):
    cross(agents, Shape(*there), Shape(*here), KvFormat(LLAMA, 150, Codec.RAW))


@pytest.mark.parametrize(("there", "here"), [(8, 1), (1, 8), (8, 4), (4, 8)])
def test_a_head_that_several_ranks_hold_is_encoded_once_and_crosses_once(agents, there, here):
    cross(agents, Shape(there, (4, 2)), Shape(here, (1, 5)), KvFormat(FEW_HEADS, 150, Codec.INT4, 1))


@pytest.mark.parametrize(("there", "here"), list(permutations(BLOCK_SIZES, 2)))
def test_blocks_of_any_two_sizes_fit(agents, there, here):
    cross(agents, Shape(1, (6,), there), Shape(2, (6,), here), KvFormat(FEW_HEADS, 333, Codec.RAW))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(("there", "here"), list(zip(PAGES, PAGES[1:] + PAGES[:1], strict=True)), ids=str)
def test_pages_of_unlike_backends_carry_the_codecs_own_round_trip(agents, codec, dtype, there, here):
    kv_format = KvFormat(Geometry(layers=4, kv_heads=2, head_dim=64, dtype=dtype), 200, codec, boundary_layers=1)
    cross(agents, Shape(2, (4,), 32, there), Shape(1, (1, 3), 128, here), kv_format)


@st.composite
def worlds(draw):
    """Two shapes of engines of one model, and the format of a ticket between them."""
    heads, layers = draw(st.sampled_from([1, 2, 4, 8])), draw(st.integers(1, 6))
    dtype, dim = draw(st.sampled_from(["float16", "bfloat16"])), draw(st.sampled_from([32, 64, 80, 128]))
    geometry = Geometry(layers, heads, dim, dtype)

    def shape():
        cuts = draw(st.sets(st.integers(1, layers - 1), max_size=3)) if layers > 1 else set()
        stages = tuple(stop - first for first, stop in pairwise([0, *sorted(cuts), layers]))
        spread = draw(st.sampled_from([1, 2, 4, 8])), stages
        return Shape(*spread, draw(st.sampled_from(BLOCK_SIZES)), draw(st.sampled_from(PAGES)))

    tokens, codec = draw(st.integers(1, 300)), draw(st.sampled_from(CODECS))
    return shape(), shape(), KvFormat(geometry, tokens, codec, draw(st.integers(0, layers)))


@given(world=worlds())
@settings(max_examples=30)
def test_whatever_two_engines_are_like_kv_arrives_whole_and_once(agents, world):
    cross(agents, *world)
