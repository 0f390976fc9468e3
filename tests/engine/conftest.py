"""Two engines that several files share: starting a pair takes most of a minute of this machine."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.kv_world import World


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[World]":
    """P keeps no prefix cache, so that it also serves as the single engine; D has vLLM's default, prefix caching on.

    D recomputes slowly, so that few short prompts make a queue.
    """
    from tests.engine.kv_world import TINY, world

    alone = replace(TINY, extra_args=("--no-enable-prefix-caching",))
    with world(tmp_path_factory.mktemp("kv"), alone, replace(TINY, recompute_tokens_per_s=300.0)) as made:
        yield made
