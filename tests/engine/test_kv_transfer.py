"""Prefill on one real engine, decode on another: the answer is the single engine's, whatever the transfer does."""

import asyncio
import math
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from runtime.relay.tickets import State
from tests.engine.held_out import prompts
from tests.engine.kv_world import Side, World, compared, soon

pytestmark = [pytest.mark.engine, pytest.mark.engine_env, pytest.mark.timeout(600)]

SAME = {"equal", "near tie"}
LENGTHS = [5, 17, 63, 64, 65, 100, 127, 128, 129, 191, 256, 300, 384, 500, 640, 777, 1000, 1023, 1280, 1500]
USED = sum(LENGTHS)


def through(engines: World, prompt: list[int], tokens: int = 24, **leg: Any) -> dict[str, Any]:
    """Both legs of a request."""
    return engines.decode.complete(prompt, tokens, kv_transfer_params=engines.ticket(prompt, **leg))


def alone(engines: World, prompt: list[int], tokens: int = 24) -> dict[str, Any]:
    return engines.prefill.complete(prompt, tokens, logprobs=2)


def test_raw_gives_the_single_engines_tokens_on_20_prompts(engines: World) -> None:
    verdicts, sent = {}, engines.prefill.counted("sent_bytes_raw")
    for prompt in prompts(LENGTHS):
        answer = through(engines, prompt)
        verdicts[len(prompt)] = compared(answer, alone(engines, prompt))
    print("raw, by prompt length:", verdicts)
    assert set(verdicts.values()) <= SAME, verdicts
    assert engines.decode.counted("fetches_done") == len(LENGTHS)
    assert engines.prefill.counted("sent_bytes_raw") == sent + engines.decode.counted("received_bytes_raw")
    assert engines.decode.counted("received_bytes_raw") > USED * 4096
    assert engines.decode.metric("vllm:external_prefix_cache_hits_total") == USED
    assert "is computed here" not in engines.decode.log
    assert soon(lambda: engines.prefill.relay.health.pool_used_bytes == 0)
    assert engines.decode.relay.health.pool_used_bytes == 0


def test_only_what_decode_has_not_cached_crosses(engines: World) -> None:
    (prompt,) = prompts([600], skip=USED)
    through(engines, prompt[:400])
    before = engines.decode.counted("received_bytes_raw")
    answer = through(engines, prompt)
    crossed = engines.decode.counted("received_bytes_raw") - before
    # 400 tokens fill three blocks of 128: groups of 64 from token 384 on are fetched, 4 KiB a token and frames.
    assert crossed == pytest.approx((600 - 384) * 4096, rel=0.01)
    assert compared(answer, alone(engines, prompt)) in SAME


def test_several_at_once_and_two_samples_of_one_prompt(engines: World) -> None:
    many = prompts([300, 700, 150, 450, 90, 820], skip=USED + 1000)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda prompt: through(engines, prompt), many))
    assert {compared(answer, alone(engines, prompt)) for answer, prompt in zip(answers, many, strict=True)} <= SAME
    (prompt,) = prompts([333], skip=USED + 4000)
    one_way = {"n": 2, "temperature": 1.0, "top_k": 1}  # vLLM refuses two samples of greedy decoding
    twice = engines.decode.complete(prompt, 24, **one_way, kv_transfer_params=engines.ticket(prompt, readers=2))
    assert {compared(twice, alone(engines, prompt), index) for index in (0, 1)} <= SAME
    assert soon(lambda: engines.prefill.relay.health.tickets == 0)


class Meter:
    """Stands between two agents and counts the bytes of their TLS connection, both ways."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self.bytes = 0

    async def start(self) -> "Meter":
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        self._server.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._side.port)
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            self.bytes += len(data)
            writer.write(data)
            await writer.drain()
        writer.close()


async def hang_up(side: Side) -> None:
    """Its next pull dials anew."""
    side.relay.streams.close()


@pytest.mark.parametrize("length", [2048, 2111, pytest.param(3000, marks=pytest.mark.soak)])
def test_int4_takes_3_4_times_fewer_bytes_on_the_wire(engines: World, length: int) -> None:
    """The worst tail follows 2,111 tokens. `benchmarks/kv_wire_ratio.py` has int8 and other lengths."""
    meter = engines.run(Meter(engines.prefill).start())
    engines.run(hang_up(engines.decode))
    legs: list[dict[str, Any]] = [{"codec": "raw"}, {"codec": "int4"}, {"codec": "int4", "boundary_layers": 0}]
    crossed = []
    for number, leg in enumerate(legs):
        (prompt,) = prompts([length], skip=40_000 + 15_000 * number + 2 * length)
        ticket, before = engines.ticket(prompt, **leg), meter.bytes
        ticket["agent"]["port"] = meter.port
        engines.decode.complete(prompt, 1, kv_transfer_params=ticket)
        assert soon(lambda: engines.prefill.relay.health.tickets == 0)
        crossed.append(meter.bytes - before)
    raw, default, all_int4 = crossed
    print(f"{length} tokens, {raw} bytes raw: int4 {raw / default:.3f}, without boundary layers {raw / all_int4:.3f}")
    assert raw > length * 4096
    assert raw / all_int4 >= 3.4
    assert raw / default >= 2.4
    assert engines.decode.counted("engine_load_crashed") == 0
    engines.run(meter.stop())


def test_int4_outputs_stay_likely_to_the_single_engine(engines: World) -> None:
    """The engine's own log-probabilities of what it wrote after int4 KV, against those of raw."""
    means: dict[str, list[float]] = {"raw": [], "int4": []}
    for number, codec in enumerate(means):
        for prompt in prompts([800, 1100], skip=100_000):
            answer = through(engines, prompt[number:], 40, codec=codec)
            text = prompt[number:] + answer["choices"][0]["token_ids"]
            echo = engines.prefill.complete(text, 1, prompt_logprobs=0)
            tail = echo["choices"][0]["prompt_logprobs"][-40:]
            means[codec] += [next(iter(entry.values()))["logprob"] for entry in tail]
    raw, int4 = (math.exp(-sum(values) / len(values)) for values in means.values())
    print(f"perplexity of its own greedy text: raw {raw:.3f}, int4 {int4:.3f}")
    assert int4 < raw * 1.25


def spoil_bytes(engines: World, ticket: dict[str, Any]) -> None:
    """Damage every frame of the ticket in the pool, where no TLS protects it."""
    entry = engines.prefill.relay._tickets.find(ticket["ticket"], ticket["capability"])
    assert soon(lambda: entry.state is State.READY)
    data = engines.prefill.relay.pool.view(entry.region)
    data[100::500] = bytes(byte ^ 1 for byte in data[100::500])


def expire(engines: World, _ticket: dict[str, Any]) -> None:
    engines.prefill.relay._tickets.expire(now=math.inf)


def kill_source(_engines: World, ticket: dict[str, Any]) -> None:
    ticket["agent"] |= {"port": 1, "name": "gone.agent.thunder"}


def swap_prompt(engines: World, ticket: dict[str, Any]) -> None:
    """A ticket over another prompt of the same length."""
    (other,) = prompts([ticket["tokens"]], skip=150_000)
    ticket.clear()
    ticket.update(engines.ticket(other))


def garble(_engines: World, ticket: dict[str, Any]) -> None:
    ticket["layers"] = "eight"


FAULTS = [
    (spoil_bytes, "fetches_failed_PeerUnreachable"),
    (expire, "fetches_failed_UnknownTicket"),
    (kill_source, "fetches_failed_PeerUnreachable"),
    (swap_prompt, "engine_binding_mismatch"),
    (garble, "engine_unreadable_ticket"),
]


@pytest.mark.parametrize(("fault", "counter"), FAULTS)
def test_a_failed_transfer_is_recomputed_and_the_client_gets_the_answer(
    engines: World, fault: Any, counter: str
) -> None:
    (prompt,) = prompts([420], skip=160_000 + 500 * FAULTS.index((fault, counter)))
    ticket, before = engines.ticket(prompt), engines.decode.counted(counter)
    fault(engines, ticket)
    answer = engines.decode.complete(prompt, 24, kv_transfer_params=ticket)
    assert compared(answer, alone(engines, prompt)) in SAME
    assert engines.decode.counted(counter) == before + 1
    assert soon(lambda: engines.decode.relay.health.pool_used_bytes == 0)


def test_a_full_pool_means_no_ticket_and_an_ordinary_answer(engines: World) -> None:
    expire(engines, {})
    engines.prefill.relay.sweep()
    relay = engines.prefill.relay
    everything = relay.pool.reserve(relay.pool.size - relay.pool.used_bytes)
    (prompt,) = prompts([200], skip=170_000)
    assert engines.handed_on(prompt) is None
    relay._room.free(everything)
    assert compared(engines.decode.complete(prompt, 24), alone(engines, prompt)) in SAME


def test_engines_live_on_without_their_agents_and_find_the_next_ones(engines: World) -> None:
    (prompt, another) = prompts([350, 360], skip=175_000)
    engines.run(engines.prefill.door.close())
    started = time.monotonic()
    assert engines.handed_on(prompt) is None
    assert time.monotonic() - started < 5
    for side in (engines.prefill, engines.decode):
        engines.restart_agent(side)
    assert soon(lambda: engines.prefill.door.ranks and engines.decode.door.ranks)
    assert compared(through(engines, another), alone(engines, another)) in SAME
    assert engines.decode.counted("fetches_done") == 1


def test_nothing_of_ours_went_wrong_unseen(engines: World) -> None:
    for side in (engines.prefill, engines.decode):
        assert "Traceback" not in side.log
        assert side.engine is not None
        assert side.engine.poll() is None
