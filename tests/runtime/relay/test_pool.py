"""The pool hands out bytes that are nobody else's."""

import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.relay.pool import ALIGNMENT, Allocator, Pool, PoolMemory

POOL = 64 * ALIGNMENT


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 20 * ALIGNMENT)), max_size=60))
def test_regions_never_overlap_and_all_come_back(operations):
    allocator, held = Allocator(POOL), []
    for reserve, number in operations:
        if reserve or not held:
            fits, region = allocator.fits(number), allocator.reserve(number)
            assert fits == (region is not None)
            held += [region] if region is not None else []
        else:
            allocator.free(held.pop(number % len(held)))
        spans = sorted((region.offset, region.offset + region.length) for region in held)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
        assert all(end <= POOL for _, end in spans)
        assert allocator.used_bytes == sum(-(-region.length // ALIGNMENT) * ALIGNMENT for region in held)
    for region in held:
        allocator.free(region)
    assert allocator.reserve(POOL) is not None


def test_a_full_pool_says_no():
    allocator = Allocator(POOL)
    assert allocator.reserve(POOL - ALIGNMENT) is not None
    assert allocator.reserve(ALIGNMENT + 1) is None
    assert allocator.reserve(ALIGNMENT) is not None


def test_a_region_can_be_freed_once():
    allocator = Allocator(POOL)
    region = allocator.reserve(10)
    allocator.free(region)
    with pytest.raises(KeyError):
        allocator.free(region)


def test_whoever_has_the_descriptor_sees_the_same_bytes():
    pool = Pool(3 * ALIGNMENT)
    region = pool.reserve(100)
    memory = PoolMemory(os.dup(pool.fd), pool.size)
    pool.view(region)[:5] = b"hello"
    assert bytes(memory.view(region.offset, 5)) == b"hello"
    memory.view(region.offset + 5, 5)[:] = b" tile"
    assert bytes(pool.view(region)[:10]) == b"hello tile"
    memory.close()
    pool.close()


def test_bytes_outside_the_pool_are_refused():
    pool = Pool(ALIGNMENT)
    memory = PoolMemory(pool.fd, pool.size)
    for offset, length in ((-1, 5), (ALIGNMENT, 1), (0, ALIGNMENT + 1), (5, -3)):
        with pytest.raises(ValueError, match="pool of 4096"):
            memory.view(offset, length)
    memory.close()
    pool.close()


def test_a_pool_closes_while_someone_still_looks():
    pool = Pool(ALIGNMENT)
    view = pool.view(pool.reserve(10))
    pool.close()
    assert len(view) == 10
