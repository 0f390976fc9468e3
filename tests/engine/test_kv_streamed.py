"""KV that crosses while it is computed, in several steps: the answer is the single engine's, whatever prefill does."""

import os
import queue
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.engine.held_out import prompts
from tests.engine.kv_world import COMPLETIONS, TINY, World, compared, completion, soon, world

pytestmark = [pytest.mark.engine, pytest.mark.engine_env]

SAME = {"equal", "near tie"}
LENGTHS = [5, 63, 64, 65, 255, 256, 257, 300, 511, 700, 1023, 1500]
A_STEP = 256
ORDER = {"do_remote_decode": True, "codec": "raw", "readers": 1, "stream": True}


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    small = replace(TINY, extra_args=("--max-num-batched-tokens", str(A_STEP)))
    with world(tmp_path_factory.mktemp("streamed"), small, TINY) as made:
        yield made


@contextmanager
def said_early(engines: World) -> "Iterator[queue.Queue[dict[str, Any]]]":
    """The tickets that an agent would pass on while their prompts are computed."""
    said: queue.Queue[dict[str, Any]] = queue.Queue()
    engines.prefill.relay.on_ticket = lambda _replica, _request, ticket: said.put(dict(ticket))
    yield said
    engines.prefill.relay.on_ticket = lambda _replica, _request, _ticket: None


def streamed(engines: World, prompt: list[int], codec: str = "raw") -> tuple[dict[str, Any], bool]:
    """An answer whose decode leg began with the early ticket, and whether that was before the prefill leg ended."""
    with said_early(engines) as said, ThreadPoolExecutor(1) as pool:
        prefill = pool.submit(engines.ticket, prompt, codec=codec)
        ticket = said.get(timeout=60)
        beside = not prefill.done()
        answer = engines.decode.complete(prompt, 24, kv_transfer_params=ticket)
        assert prefill.result()["ticket"] == ticket["ticket"]
        return answer, beside


def alone(engines: World, prompt: list[int]) -> dict[str, Any]:
    return engines.prefill.complete(prompt, 24, logprobs=2)


def test_raw_gives_the_single_engines_tokens_though_decode_began_beside_prefill(engines: World) -> None:
    verdicts, beside = {}, {}
    for prompt in prompts(LENGTHS):
        answer, beside[len(prompt)] = streamed(engines, prompt)
        verdicts[len(prompt)] = compared(answer, alone(engines, prompt))
    assert set(verdicts.values()) <= SAME, verdicts
    assert all(early for tokens, early in beside.items() if tokens > A_STEP), beside
    assert engines.decode.counted("fetches_done") == len(LENGTHS)
    assert engines.decode.metric("vllm:external_prefix_cache_hits_total") == sum(LENGTHS)
    assert "is computed here" not in engines.decode.log
    assert soon(lambda: engines.prefill.relay.health.pool_used_bytes == 0)


def test_a_prompt_whose_beginning_was_cached_crosses_whole(engines: World) -> None:
    (prompt,) = prompts([900], skip=20_000)
    alone(engines, prompt[:600])
    answer, _ = streamed(engines, prompt)
    assert compared(answer, alone(engines, prompt)) in SAME


def test_several_prompts_share_steps_streamed_or_not(engines: World) -> None:
    many = prompts([300, 700, 150, 450], skip=30_000)
    with ThreadPoolExecutor(len(many)) as pool:
        tickets = list(pool.map(lambda prompt: engines.ticket(prompt, stream=len(prompt) > 400), many))
        answers = list(
            pool.map(
                lambda prompt, ticket: engines.decode.complete(prompt, 24, kv_transfer_params=ticket), many, tickets
            )
        )
    assert {compared(answer, alone(engines, prompt)) for answer, prompt in zip(answers, many, strict=True)} <= SAME


def test_a_prefill_leg_that_is_taken_back_ends_its_ticket_and_decode_computes_the_prompt(engines: World) -> None:
    (prompt,) = prompts([3000], skip=40_000)
    failed = engines.prefill.counted("tickets_failed")
    with said_early(engines) as said, ThreadPoolExecutor(1) as pool:
        leg = engines.prefill.asked(COMPLETIONS, completion(prompt, 1) | {"kv_transfer_params": ORDER})
        decoding = pool.submit(engines.decode.complete, prompt, 24, kv_transfer_params=said.get(timeout=60))
        leg.close()
        answer = decoding.result()
    assert compared(answer, alone(engines, prompt)) in SAME
    assert soon(lambda: engines.prefill.counted("tickets_failed") == failed + 1)
    assert "its KV did not come" in engines.decode.log
    assert soon(lambda: engines.prefill.relay.health.pool_used_bytes == 0, 70)


def test_a_prefill_engine_that_is_killed_midway_costs_a_recompute(engines: World) -> None:
    """The last one: nobody starts it again."""
    (prompt,) = prompts([3000], skip=50_000)
    engine = engines.prefill.engine
    assert engine is not None
    with said_early(engines) as said, ThreadPoolExecutor(1) as pool:
        leg = engines.prefill.asked(COMPLETIONS, completion(prompt, 1) | {"kv_transfer_params": ORDER})
        ticket = said.get(timeout=60)
        decoding = pool.submit(engines.decode.complete, prompt, 24, kv_transfer_params=ticket)
        os.killpg(engine.pid, signal.SIGKILL)
        answer = decoding.result()
        leg.close()
    assert len(answer["choices"][0]["token_ids"]) == 24
    assert soon(lambda: engines.prefill.relay.health.pool_used_bytes == 0, 70)
    assert engines.decode.relay.health.pool_used_bytes == 0
