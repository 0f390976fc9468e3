"""KV that crosses while it is computed, in several steps: the answer is the single engine's, whatever prefill does."""

import os
import queue
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.engine.held_out import prompts
from tests.engine.kv_world import COMPLETIONS, TINY, Side, World, compared, completion, soon

pytestmark = [pytest.mark.engine, pytest.mark.engine_env, pytest.mark.timeout(600)]

SAME = {"equal", "near tie"}
LENGTHS = [5, 63, 64, 65, 255, 256, 257, 300, 511, 700, 1023, 1500]
A_STEP = 256
HITS = "vllm:external_prefix_cache_hits_total"
ORDER = {"do_remote_decode": True, "codec": "raw", "readers": 1, "stream": True}


@dataclass(frozen=True)
class Pair:
    """`world` has both. `prefill` takes a prompt in steps; `decode` is one that several files share."""

    world: World
    prefill: Side
    decode: Side

    def ticket(self, prompt: list[int], **order: Any) -> dict[str, Any]:
        return self.world.ticket(prompt, at=self.prefill, **order)


@pytest.fixture(scope="module")
def pair(engines: World) -> Iterator[Pair]:
    small = replace(TINY, extra_args=("--max-num-batched-tokens", str(A_STEP)))
    with engines.joined(small=small):
        yield Pair(engines, engines.sides["small"], engines.prefill)


@contextmanager
def said_early(pair: Pair) -> "Iterator[queue.Queue[dict[str, Any]]]":
    """The tickets that an agent would pass on while their prompts are computed."""
    said: queue.Queue[dict[str, Any]] = queue.Queue()
    pair.prefill.relay.on_ticket = lambda _replica, _request, ticket: said.put(dict(ticket))
    yield said
    pair.prefill.relay.on_ticket = lambda _replica, _request, _ticket: None


def streamed(pair: Pair, prompt: list[int], codec: str = "raw") -> tuple[dict[str, Any], bool]:
    """An answer whose decode leg began with the early ticket, and whether that was before the prefill leg ended."""
    with said_early(pair) as said, ThreadPoolExecutor(1) as pool:
        prefill = pool.submit(pair.ticket, prompt, codec=codec)
        ticket = said.get(timeout=60)
        beside = not prefill.done()
        answer = pair.decode.complete(prompt, 24, kv_transfer_params=ticket)
        assert prefill.result()["ticket"] == ticket["ticket"]
        return answer, beside


def alone(pair: Pair, prompt: list[int]) -> dict[str, Any]:
    return pair.prefill.complete(prompt, 24, logprobs=2)


def test_raw_gives_the_single_engines_tokens_though_decode_began_beside_prefill(pair: Pair) -> None:
    verdicts, beside = {}, {}
    done, hits, said = pair.decode.counted("fetches_done"), pair.decode.metric(HITS), len(pair.decode.log)
    for prompt in prompts(LENGTHS):
        answer, beside[len(prompt)] = streamed(pair, prompt)
        verdicts[len(prompt)] = compared(answer, alone(pair, prompt))
    assert set(verdicts.values()) <= SAME, verdicts
    assert all(early for tokens, early in beside.items() if tokens > A_STEP), beside
    assert pair.decode.counted("fetches_done") == done + len(LENGTHS)
    assert pair.decode.metric(HITS) == hits + sum(LENGTHS)
    assert "is computed here" not in pair.decode.log[said:]
    assert soon(lambda: pair.prefill.relay.health.pool_used_bytes == 0)


def test_a_prompt_whose_beginning_was_cached_crosses_whole(pair: Pair) -> None:
    (prompt,) = prompts([900], skip=20_000)
    alone(pair, prompt[:600])
    answer, _ = streamed(pair, prompt)
    assert compared(answer, alone(pair, prompt)) in SAME


def test_several_prompts_share_steps_streamed_or_not(pair: Pair) -> None:
    many = prompts([300, 700, 150, 450], skip=30_000)
    with ThreadPoolExecutor(len(many)) as pool:
        tickets = list(pool.map(lambda prompt: pair.ticket(prompt, stream=len(prompt) > 400), many))
        answers = list(
            pool.map(lambda prompt, ticket: pair.decode.complete(prompt, 24, kv_transfer_params=ticket), many, tickets)
        )
    assert {compared(answer, alone(pair, prompt)) for answer, prompt in zip(answers, many, strict=True)} <= SAME


def test_a_prefill_leg_that_is_taken_back_ends_its_ticket_and_decode_computes_the_prompt(pair: Pair) -> None:
    (prompt,) = prompts([3000], skip=40_000)
    failed, said_before = pair.prefill.counted("tickets_failed"), len(pair.decode.log)
    with said_early(pair) as said, ThreadPoolExecutor(1) as pool:
        leg = pair.prefill.asked(COMPLETIONS, completion(prompt, 1) | {"kv_transfer_params": ORDER})
        decoding = pool.submit(pair.decode.complete, prompt, 24, kv_transfer_params=said.get(timeout=60))
        leg.close()
        answer = decoding.result()
    assert compared(answer, alone(pair, prompt)) in SAME
    assert soon(lambda: pair.prefill.counted("tickets_failed") == failed + 1)
    assert "its KV did not come" in pair.decode.log[said_before:]
    assert soon(lambda: pair.prefill.relay.health.pool_used_bytes == 0, 70)


def test_a_prefill_engine_that_is_killed_midway_costs_a_recompute(pair: Pair) -> None:
    """The last one here: nobody starts it again."""
    (prompt,) = prompts([3000], skip=50_000)
    engine = pair.prefill.engine
    assert engine is not None
    used_bytes = pair.decode.relay.health.pool_used_bytes  # by tickets of others who share it, until they expire
    with said_early(pair) as said, ThreadPoolExecutor(1) as pool:
        leg = pair.prefill.asked(COMPLETIONS, completion(prompt, 1) | {"kv_transfer_params": ORDER})
        ticket = said.get(timeout=60)
        decoding = pool.submit(pair.decode.complete, prompt, 24, kv_transfer_params=ticket)
        os.killpg(engine.pid, signal.SIGKILL)
        answer = decoding.result()
        leg.close()
    assert len(answer["choices"][0]["token_ids"]) == 24
    assert soon(lambda: pair.prefill.relay.health.pool_used_bytes == 0, 70)
    assert pair.decode.relay.health.pool_used_bytes <= used_bytes
