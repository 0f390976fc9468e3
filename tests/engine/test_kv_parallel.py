"""Two ranks by heads on one side, two stages of 3 and 5 layers on the other, and KV crosses both ways."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from runtime.connector.scheduler import BACK_OFF_S
from tests.engine.held_out import prompts
from tests.engine.kv_world import TINY, Side, World, compared, world

pytestmark = [pytest.mark.engine, pytest.mark.engine_env]

LENGTHS = [5, 129, 640]
ATTEMPTS = 4


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    uncached = replace(TINY, extra_args=("--no-enable-prefix-caching",))
    by_heads, by_layers = replace(uncached, tp=2), replace(uncached, pp=2, layer_partition=(3, 5))
    with world(tmp_path_factory.mktemp("kv"), by_heads, by_layers) as made:
        yield made


@pytest.mark.parametrize("direction", ["heads to layers", "layers to heads"])
def test_unequal_parallelism_gives_the_single_engines_tokens(engines: World, direction: str) -> None:
    there, here = (engines.prefill, engines.decode)[:: 1 if direction == "heads to layers" else -1]
    for prompt in prompts(LENGTHS, skip=120_000 + 1000 * len(direction)):
        single = there.complete(prompt, 12, logprobs=2)
        assert any(crosses(engines, there, here, prompt, single) for _ in range(ATTEMPTS)), here.log[-3000:]


def crosses(engines: World, there: Side, here: Side, prompt: list[int], single: dict[str, Any]) -> bool:
    """Whether both ranks fetched; the answer is right in any case.

    vLLM's idle ranks spin, which on two cores can keep the agents from answering in time: no ticket then, or no tiles.
    """
    before = here.counted("fetches_done")
    ticket = engines.ticket(prompt, at=there)
    answer = here.complete(prompt, 12, kv_transfer_params=ticket)
    assert compared(answer, single) in ("equal", "near tie")
    if here.counted("fetches_done") == before + 2:
        return True
    time.sleep(BACK_OFF_S)
    return False


def test_when_one_rank_fails_all_recompute_and_the_client_gets_the_answer(engines: World) -> None:
    (prompt,) = prompts([400], skip=150_000)
    tickets = (engines.ticket(prompt) or time.sleep(BACK_OFF_S) for _ in range(ATTEMPTS))
    ticket, before = next(filter(None, tickets)), engines.decode.counted("fetches_done")
    engines.prefill.relay.encode_failed(ticket["ticket"], 1, "made up")
    engines.prefill.relay.drop(ticket["ticket"], ticket["capability"])
    answer = engines.decode.complete(prompt, 12, kv_transfer_params=ticket)
    assert compared(answer, engines.prefill.complete(prompt, 12, logprobs=2)) in ("equal", "near tie")
    assert engines.decode.counted("fetches_done") == before
    assert "Traceback" not in engines.prefill.log + engines.decode.log
