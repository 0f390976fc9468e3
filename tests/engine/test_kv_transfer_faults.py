"""Transfers that fail between two real engines: none dies, nothing is kept, and decoding goes on meanwhile."""

import http.client
import json
import math
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from runtime.agent.proxy import request_id
from runtime.relay.ticket import Ticket
from runtime.relay.tickets import State
from tests.engine.held_out import prompts
from tests.engine.kv_world import COMPLETIONS, Side, World, compared, completion, soon

pytestmark = [pytest.mark.engine, pytest.mark.engine_env, pytest.mark.timeout(600)]

SAME = {"equal", "near tie"}
OUTPUT = 6
BURST, BURST_TOKENS = 4, 400
NO_TICKET = {"kv_lost": True}
"""What a router says where a ticket was due and none was given."""


def no_right(ticket: dict[str, Any]) -> dict[str, Any]:
    """It does not open what it names: the load fails at once."""
    return {**ticket, "capability": "guess"}


def spoiled(engines: World, ticket: dict[str, Any], kind: int) -> dict[str, Any]:
    """One of several faults, by number."""
    relay = engines.prefill.relay
    match kind % 5:
        case 0:
            return no_right(ticket)
        case 1:
            return {**ticket, "layers": "eight"}
        case 2:
            return {**ticket, "binding": ticket["binding"][::-1]}
        case 3:
            engines.run(called(relay.drop, ticket["ticket"], ticket["capability"]))
            return ticket
        case _:
            entry = relay._tickets.find(ticket["ticket"], ticket["capability"])
            assert soon(lambda: entry.state is State.READY)
            data = relay.pool.view(entry.region)
            data[100::500] = bytes(byte ^ 1 for byte in data[100::500])
            return ticket


async def called(act: Any, *arguments: Any) -> Any:
    """In the event loop that the relays live in."""
    return act(*arguments)


def nothing_is_kept(engines: World) -> None:
    """No block of vLLM's, no byte of a pool, no request; tickets that nobody could read have expired."""
    engines.run(called(partial(engines.prefill.relay._tickets.expire, now=math.inf)))
    for side in (engines.prefill, engines.decode):
        engines.run(called(side.relay.sweep))
        assert soon(partial(is_at_rest, side), 20), side.relay.health
        assert "Traceback" not in side.log


def is_at_rest(side: Side) -> bool:
    names = ("vllm:kv_cache_usage_perc", "vllm:num_requests_running", "vllm:num_requests_waiting")
    return not any(side.metric(name) for name in names) and not side.relay.health.pool_used_bytes


def test_after_sixty_requests_with_one_fault_in_ten_nothing_is_kept(engines: World) -> None:
    many = prompts([64 + 7 * (number % 20) for number in range(60)], skip=15_000)

    def answered(number: int) -> str:
        prompt = many[number]
        ticket = engines.ticket(prompt)
        if number % 10 == 3:
            ticket = spoiled(engines, ticket, number // 10)
        answer = engines.decode.complete(prompt, OUTPUT, kv_transfer_params=ticket)
        if number % 5 != 3:
            return "answered"
        return compared(answer, engines.prefill.complete(prompt, OUTPUT, logprobs=2))

    done, failed = engines.decode.counted("fetches_done"), engines.decode.counted("engine_recomputed_tokens")
    with ThreadPoolExecutor(6) as pool:
        verdicts = list(pool.map(answered, range(len(many))))
    assert set(verdicts) <= SAME | {"answered"}, verdicts
    assert engines.decode.counted("fetches_done") > done + 40
    assert engines.decode.counted("engine_recomputed_tokens") > failed
    nothing_is_kept(engines)


@contextmanager
def decoding(side: Side, prompt: list[int], seen: list[str]) -> Iterator[None]:
    """Meanwhile a client reads a long stream; every token that reaches it is noted in `seen`."""
    body = completion(prompt, 3500) | {"stream": True}
    with closing(side.asked(COMPLETIONS, body)) as connection:
        reader = threading.Thread(target=_read, args=(connection, seen))
        reader.start()
        assert soon(lambda: len(seen) > 5, 60)
        yield
        connection.sock.shutdown(2)
        reader.join()


def _read(connection: http.client.HTTPConnection, seen: list[str]) -> None:
    for line in connection.getresponse():
        if line.startswith(b"data: {"):
            seen += ["token"] * len(json.loads(line[6:])["choices"][0]["token_ids"])


def tokens_between(side: Side, bodies: Sequence[dict[str, Any]], seen: list[str]) -> list[int]:
    """Ask all at once; how many tokens the stream got between each answer and the next."""

    def asked(body: dict[str, Any]) -> None:
        status, answer = side.call(COMPLETIONS, body)
        assert status == 200, answer
        seen.append("answer")

    with ThreadPoolExecutor(len(bodies)) as pool:
        list(pool.map(asked, bodies))
    answers = [at for at, what in enumerate(seen) if what == "answer"]
    return [then - now - 1 for now, then in pairwise(answers)]


def test_prompts_whose_kv_does_not_come_leave_the_decoding_its_time(engines: World) -> None:
    """Each waits its second or more, in which the others' stream goes on. Half of them bring no ticket at all."""
    stream, *burst = prompts([40, *[BURST_TOKENS] * BURST], skip=22_000)
    tickets = [no_right(engines.ticket(prompt)) if number % 2 else NO_TICKET for number, prompt in enumerate(burst)]
    lost = [
        completion(prompt, 1) | {"kv_transfer_params": params} for prompt, params in zip(burst, tickets, strict=True)
    ]
    names = ("engine_recomputed_tokens", "engine_recompute_waits", "engine_no_ticket")
    before = [engines.decode.counted(name) for name in names]
    seen: list[str] = []
    with decoding(engines.decode, stream, seen):
        seen.clear()
        between = tokens_between(engines.decode, lost, seen)
    print(f"tokens decoded between the answers to {BURST} prompts, in turns: {between}")
    assert min(between) > 0
    tokens, waits, no_ticket = (engines.decode.counted(name) - was for name, was in zip(names, before, strict=True))
    assert (tokens, no_ticket) == (BURST * BURST_TOKENS, BURST / 2)
    assert waits > 0
    nothing_is_kept(engines)


def test_who_would_wait_too_long_is_refused_by_the_name_its_agent_knows(engines: World) -> None:
    clients = [f"client-{number}" for number in range(4)]
    refused: list[str] = []
    engines.decode.relay.on_refusal = lambda _replica, request: refused.append(request)
    with ExitStack() as open_connections:
        for client, prompt in zip(clients, prompts([1000] * 4, skip=31_000), strict=True):
            body = completion(prompt, 1) | {"n": 2, "temperature": 1.0, "top_k": 1}
            body |= {"kv_transfer_params": {"do_remote_prefill": True, "version": 0}}
            asking = engines.decode.asked(COMPLETIONS, body, **{"X-Request-Id": client})
            open_connections.enter_context(closing(asking))
        assert soon(lambda: refused, 60)
    assert {request_id(name) for name in refused} <= set(clients), refused
    nothing_is_kept(engines)  # the agent, too, closes the connection: vLLM then aborts, whatever a request waits for


@pytest.mark.parametrize("whose", ["prefill", "decode"])
def test_an_agent_that_dies_while_an_engine_waits_for_tiles_costs_a_recompute(engines: World, whose: str) -> None:
    (prompt,) = prompts([300 + len(whose)], skip=39_000 + len(whose))
    known = Ticket.from_json(engines.ticket(prompt))
    source = engines.prefill.relay
    never_encoded, _ = engines.run(
        called(lambda: source.reserve(known.format, known.binding, owner="nobody", ranks=1, readers=1))
    )
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(engines.decode.complete, prompt, OUTPUT, kv_transfer_params=never_encoded.to_json())
        assert soon(lambda: any(entry.pulls for entry in source._tickets._entries.values()))
        side = getattr(engines, whose)
        engines.restart_agent(side)
        assert compared(answer.result(60), engines.prefill.complete(prompt, OUTPUT, logprobs=2)) in SAME
    engines.run(called(source.cancel, never_encoded.ticket, "nobody"))
    assert soon(lambda: engines.prefill.door.ranks and engines.decode.door.ranks)
    assert re.search("is computed here, its KV did not come", engines.decode.log)
    nothing_is_kept(engines)


def test_both_engines_are_alive_and_a_transfer_works(engines: World) -> None:
    (prompt,) = prompts([222], skip=39_700)
    done = engines.decode.counted("fetches_done")
    answer = engines.decode.complete(prompt, OUTPUT, kv_transfer_params=engines.ticket(prompt))
    assert compared(answer, engines.prefill.complete(prompt, OUTPUT, logprobs=2)) in SAME
    assert engines.decode.counted("fetches_done") == done + 1
    for side in (engines.prefill, engines.decode):
        assert side.engine is not None
        assert side.engine.poll() is None
    assert math.isclose(engines.decode.metric("vllm:kv_cache_usage_perc"), 0)
