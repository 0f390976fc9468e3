"""The pool is bounded by the memory of the host, or of the container on it."""

import os

import pytest

from runtime.agent.memory import host_memory_bytes, pool_bytes_within

GIB = 1 << 30


@pytest.mark.parametrize(("asked", "given"), [(1 * GIB, 1 * GIB), (32 * GIB, 32 * GIB), (100 * GIB, 32 * GIB)])
def test_a_pool_takes_no_more_than_half_of_the_memory(asked, given):
    assert pool_bytes_within(asked, 64 * GIB) == given


@pytest.mark.parametrize(("text", "limit"), [("1048576\n", 1 << 20), ("max\n", None), (None, None)])
def test_a_containers_limit_counts_where_there_is_one(tmp_path, text, limit):
    path = tmp_path / "memory.max"
    if text is not None:
        path.write_text(text)
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert host_memory_bytes([path]) == (limit or physical)
