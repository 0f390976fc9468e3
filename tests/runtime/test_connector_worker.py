"""Workers of a prefill and a decode engine around one agent, without vLLM: any ranks map to any others."""

import asyncio
import threading
import time
from contextlib import contextmanager
from itertools import pairwise, product
from types import SimpleNamespace

import pytest
import torch

from planner.deployment import Codec
from runtime.codec import compiled, reference
from runtime.connector.jobs import Load, Save, Share, Step
from runtime.connector.layouts import page_layout, read, write
from runtime.connector.side_stream import SideStream
from runtime.connector.worker import WorkerSide
from runtime.relay.door import AgentDoor
from runtime.relay.local import LocalDoor
from runtime.relay.pool import Region
from runtime.relay.relay import Relay
from runtime.relay.ticket import format_json
from runtime.tiles.format import KvFormat
from runtime.tiles.geometry import Geometry
from runtime.tiles.layout import Layout

pytestmark = pytest.mark.engine_env

GEOMETRY = Geometry(layers=4, kv_heads=2, head_dim=32, dtype="float16")
TOKENS = 150
LAYOUT = page_layout("CPU_ATTN", "vec")
KV = torch.randn(4, 2, 2, TOKENS, 32, generator=torch.Generator().manual_seed(1)).half()
"""By layer, K or V, head, token, channel."""


@pytest.fixture
def place(tmp_path):
    """A relay and its door, in a thread and event loop of their own as they are to an engine."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start():
        relay = Relay(
            agent_name="a.agent.thunder",
            advertise=("127.0.0.1", 1),
            pool_bytes=1 << 20,
            ssl_context=None,
        )
        door = LocalDoor(relay, str(tmp_path / "s"))
        await relay.start()
        await door.start()
        return relay, door

    relay, door = asyncio.run_coroutine_threadsafe(start(), loop).result(5)
    yield relay, door
    for part in (door, relay):
        asyncio.run_coroutine_threadsafe(part.close(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def agent(place):
    return place[0]


class Engine:
    """The workers of a TP x PP engine with small caches, and its scheduler's door."""

    def __init__(self, path, name, tp=1, pp=1, block_size=32, slots=None, codec=reference):
        self.block_size = block_size
        self.workers = []
        self.door = AgentDoor(path, owner=name, rank=None)
        self.door.open()
        self.ranks = [(stage, slot) for stage, slot in product(range(pp), range(tp))]
        slots = slots or block_size
        for rank, (stage, slot) in enumerate(self.ranks):
            layers = (stage * 4 // pp, (stage + 1) * 4 // pp)
            heads = (slot * 2 // tp, (slot + 1) * 2 // tp) if tp <= 2 else (slot * 2 // tp, slot * 2 // tp + 1)
            writes = tp <= 2 or slot % (tp // 2) == 0
            pages = (40 * block_size // slots, heads[1] - heads[0], slots, 64)
            door = AgentDoor(path, owner=name, rank=rank)
            door.open()
            door.call("note", {"what": "here"}, timeout_s=5)
            self.workers.append(
                WorkerSide(
                    door,
                    share=Share(layers, heads, writes),
                    layout=LAYOUT,
                    caches={layer: torch.zeros(pages, dtype=torch.float16) for layer in range(*layers)},
                    block_size=block_size,
                    fetch_timeout_s=5,
                    codec=codec,
                )
            )

    def blocks(self, first=3):
        return tuple(range(first, first + -(-TOKENS // self.block_size)))

    def fill(self, kv=KV):
        """Put the prompt's KV into the blocks, as a forward pass would."""
        for worker in self.workers:
            heads = slice(*worker._share.heads)
            for layer, cache in worker._caches.items():
                ids = worker._cache_blocks(self.blocks())[: -(-TOKENS // cache.shape[2])]
                write(LAYOUT, [cache], ids, *kv[layer : layer + 1, :, heads].transpose(0, 1))

    def hand_on(self, codec=Codec.RAW, boundary_layers=1):
        """Reserve a ticket and let every rank encode its share."""
        ticket, order = self.reserve(codec, boundary_layers)
        for worker in self.workers:
            worker.saver.finish(Step(saves=[order(0, 3)]))
        return ticket

    def reserve(self, codec=Codec.RAW, boundary_layers=1):
        """A ticket, and what orders some of its groups to be encoded."""
        kv_format = KvFormat(GEOMETRY, TOKENS, codec, boundary_layers)
        fields = {"format": format_json(kv_format), "binding": "b", "ranks": len(self.workers), "readers": 1}
        answer = self.door.call("reserve", fields, timeout_s=5)

        def order(first, stop, by_layer=False):
            blocks = self.blocks()
            begin = first * 64 // self.block_size
            end = -(-min(stop * 64, TOKENS) // self.block_size)
            place = begin * self.block_size, answer["offset"], answer["boot"]
            return Save(answer["ticket"]["ticket"], kv_format, (first, stop), blocks[begin:end], *place, by_layer)

        return answer["ticket"], order

    def load(self, ticket, first_token=0):
        """Let every rank load; returns the ids that each says it failed."""
        kv_format = KvFormat(GEOMETRY, TOKENS, Codec(ticket["codec"]), ticket["boundary_layers"])
        for worker in self.workers:
            worker.start(Step(loads=[Load("d", ticket, kv_format, self.blocks(), first_token)]))
        return [_done(worker) for worker in self.workers]

    def kv(self, layer, head):
        for worker in self.workers:
            first, stop = worker._share.heads
            if layer in worker._caches and first <= head < stop:
                ids = worker._cache_blocks(self.blocks())
                return torch.cat(read(LAYOUT, [worker._caches[layer]], ids, TOKENS))[:, head - first]
        raise AssertionError(f"nobody owns layer {layer}, head {head}")

    def close(self):
        self.door.close()
        for worker in self.workers:
            worker.close()


class RecordingCuda:
    """Of torch.cuda what orders streams; every call is noted."""

    def __init__(self, order):
        self._order = order
        self._marks = 0
        beside = SimpleNamespace(
            wait_event=lambda mark: order.append(f"wait for {mark}"), synchronize=lambda: order.append("synchronize")
        )
        self.Stream = lambda _device: beside

    def current_stream(self, device):
        return SimpleNamespace(record_event=self._record)

    @contextmanager
    def stream(self, stream):
        self._order.append("begin beside")
        try:
            yield
        finally:
            self._order.append("end beside")

    def _record(self):
        self._marks += 1
        self._order.append(f"mark {self._marks}")
        return self._marks


def _done(worker):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        outcome = worker.outcome()
        if outcome.received:
            assert outcome.received == {"d"}
            return outcome.failed
        time.sleep(0.01)
    raise AssertionError("a load was never reported")


def assert_has(engine, kv=KV, tolerance=0.0):
    for layer, head in product(range(4), range(2)):
        assert (engine.kv(layer, head) - kv[layer, :, head]).abs().max() <= tolerance


@pytest.fixture
def start(place):
    engines, (_, door) = [], place

    def start(name, **shape):
        engines.append(Engine(door.path, name, **shape))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


PARALLEL = [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (1, 4)]


@pytest.mark.parametrize(("there", "here"), [(a, b) for a in PARALLEL for b in ((1, 1), (2, 2))] + [((1, 1), (4, 1))])
def test_any_ranks_map_to_any_others(start, there, here):
    prefill = start("p", tp=there[0], pp=there[1])
    decode = start("d", tp=here[0], pp=here[1], block_size=64)
    prefill.fill()
    assert decode.load(prefill.hand_on()) == [set()] * len(decode.workers)
    assert_has(decode)


@pytest.mark.parametrize(("block_size", "slots"), [(16, 16), (128, 128), (128, 32)])
def test_block_sizes_may_differ_and_blocks_may_be_split(start, block_size, slots):
    prefill, decode = start("p", block_size=block_size, slots=slots), start("d", block_size=32)
    prefill.fill()
    assert decode.load(prefill.hand_on()) == [set()]
    assert_has(decode)


@pytest.mark.parametrize(("codec", "tolerance"), [(Codec.INT8, 0.03), (Codec.INT4, 0.3)])
@pytest.mark.parametrize("implementation", [reference, compiled])
def test_codecs_bring_nearly_the_same(start, codec, tolerance, implementation):
    compiled.warm_up()  # which may take longer than a load waits
    prefill, decode = start("p", codec=implementation), start("d", codec=implementation)
    prefill.fill()
    assert decode.load(prefill.hand_on(codec)) == [set()]
    assert_has(decode, tolerance=tolerance)


@pytest.mark.parametrize("codec", [Codec.RAW, Codec.INT4])
def test_on_a_gpu_kv_is_encoded_in_the_step_and_what_is_refused_is_said(start, agent, codec, monkeypatch):
    prefill, decode = start("p"), start("d")
    monkeypatch.setattr(prefill.workers[0].saver, "_on_gpu", True)
    prefill.fill()
    assert decode.load(prefill.hand_on(codec)) == [set()]
    assert_has(decode, tolerance=0.3 if codec is Codec.INT4 else 0.0)
    prefill.fill(KV / 0)
    assert decode.load(prefill.hand_on(codec)) == [{"d"}]
    assert agent.health.kv["tickets_failed"] == 1


def test_blocks_are_filled_after_the_work_before_the_step_and_reported_when_that_is_over(start, monkeypatch):
    """On a GPU, by what it is asked for; the blocks themselves are filled as ever."""
    prefill, decode = start("p"), start("d")
    worker, order = decode.workers[0], []
    monkeypatch.setattr(worker, "_beside", SideStream(torch.device("cuda"), RecordingCuda(order)))
    honest = worker._fill
    monkeypatch.setattr(worker, "_fill", lambda *load: (order.append("fill"), honest(*load)))
    prefill.fill()
    assert decode.load(prefill.hand_on()) == [set()]
    assert order == ["mark 1", "begin beside", "wait for 1", "fill", "end beside", "synchronize"]
    assert_has(decode)


def test_a_fill_that_breaks_is_over_too_before_it_is_reported(start, monkeypatch):
    """Its blocks are given to others at once."""
    prefill, decode = start("p"), start("d")
    worker, order = decode.workers[0], []
    monkeypatch.setattr(worker, "_beside", SideStream(torch.device("cuda"), RecordingCuda(order)))
    monkeypatch.setattr(worker, "_fill", lambda *_: 1 / 0)
    prefill.fill()
    assert decode.load(prefill.hand_on()) == [{"d"}]
    assert order[-1] == "synchronize"


def test_blocks_of_a_local_prefix_hit_are_not_touched(start):
    prefill, decode = start("p"), start("d")
    prefill.fill()
    decode.fill(torch.full_like(KV, 9))
    assert decode.load(prefill.hand_on(), first_token=96) == [set()]
    expected = KV.clone()
    expected[..., :96, :] = 9
    assert_has(decode, expected)


def stored(agent, ticket):
    """The bytes of a ticket in the pool, less what names it."""
    entry = agent._tickets.find(ticket["ticket"], ticket["capability"])
    soon(lambda: entry.state == "ready")
    kv_format, data = entry.ticket.format, bytes(agent.pool.view(entry.region))
    return [data[at + 32 : at + length] for _, at, length in Layout(kv_format, kv_format.whole).frames()]


@pytest.mark.parametrize(("tp", "pp"), [(1, 1), (2, 2)])
@pytest.mark.parametrize("codec", [Codec.RAW, Codec.INT4])
@pytest.mark.parametrize(("block_size", "slots"), [(32, 32), (128, 128), (128, 32)])
@pytest.mark.parametrize("cuts", [(0, 3), (0, 1, 3), (0, 2, 3)])
def test_steps_and_layers_make_the_same_bytes_as_all_at_once(start, agent, tp, pp, codec, block_size, slots, cuts):
    prefill = start("p", tp=tp, pp=pp, block_size=block_size, slots=slots)
    prefill.fill()
    at_once = stored(agent, prefill.hand_on(codec))
    ticket, order = prefill.reserve(codec)
    for groups in pairwise(cuts):
        step = Step(saves=[order(*groups, by_layer=True)])
        for worker in prefill.workers:
            for layer in worker._caches:
                worker.saver.computed(layer, step)
            worker.saver.finish(step)
    assert stored(agent, ticket) == at_once


def test_a_layer_leaves_before_the_next_one_is_computed(start, agent):
    prefill = start("p")
    prefill.fill()
    ticket, order = prefill.reserve()
    progress = agent._tickets.find(ticket["ticket"], ticket["capability"]).progress
    step = Step(saves=[order(0, 2, by_layer=True)])
    prefill.workers[0].saver.computed(0, step)
    soon(lambda: [progress.ready(layer, (0, 2)) for layer in range(4)] == [2, 0, 0, 0])
    for layer in range(1, 4):
        prefill.workers[0].saver.computed(layer, step)
    prefill.workers[0].saver.finish(step)
    soon(lambda: [progress.ready(layer, (0, 2)) for layer in range(4)] == [2, 2, 2, 2])


def test_a_model_that_calls_no_hooks_has_its_layers_leave_when_the_step_ends(start, agent):
    prefill = start("p")
    prefill.fill()
    ticket, order = prefill.reserve()
    progress = agent._tickets.find(ticket["ticket"], ticket["capability"]).progress
    prefill.workers[0].saver.finish(Step(saves=[order(0, 2, by_layer=True)]))
    soon(lambda: [progress.ready(layer, (0, 2)) for layer in range(4)] == [2, 2, 2, 2])


@pytest.mark.parametrize("hooks", [(), (0,), (0, 1, 2, 3)])
@pytest.mark.parametrize("by_layer", [True, False])
def test_a_step_whose_model_raises_hands_nothing_on(start, agent, hooks, by_layer):
    """What lies in its blocks was never computed, or is of the request that had them before."""
    prefill = start("p", tp=2)
    prefill.fill()
    ticket, order = prefill.reserve()
    step = Step(saves=[order(0, 3, by_layer)])
    for worker in prefill.workers:
        for layer in hooks:
            worker.saver.computed(layer, step)
        worker.saver.finish(step, RuntimeError("out of memory"))
    soon(lambda: agent.health.kv.get("tickets_failed"))
    assert start("d").load(ticket) == [{"d"}]
    assert "tickets_ready" not in agent.health.kv
    assert hand_on_again(prefill, agent) == "ready"


def test_a_step_that_left_layers_out_hands_nothing_on(start, agent):
    prefill = start("p")
    prefill.fill()
    ticket, order = prefill.reserve()
    step = Step(saves=[order(0, 3, by_layer=True)])
    prefill.workers[0].saver.computed(0, step)
    prefill.workers[0].saver.finish(step)
    soon(lambda: agent.health.kv.get("tickets_failed"))
    assert start("d").load(ticket) == [{"d"}]
    assert hand_on_again(prefill, agent) == "ready"


def hand_on_again(prefill, agent):
    """The next prompt's ticket: its state when something has become of it."""
    ticket = prefill.hand_on()
    entry = agent._tickets.find(ticket["ticket"], ticket["capability"])
    soon(lambda: entry.state != "pending")
    return entry.state


def test_a_rank_that_connected_anew_writes_no_more_of_what_it_began_before(start, agent):
    """Its agent takes it for dead, and may have given the bytes to others."""
    prefill = start("p")
    prefill.fill()
    ticket, order = prefill.reserve()
    saver, door = prefill.workers[0].saver, prefill.workers[0]._door
    saver.finish(Step(saves=[order(0, 1)]))
    progress = agent._tickets.find(ticket["ticket"], ticket["capability"]).progress
    soon(lambda: progress.begun)
    first = door.session()
    door.open()
    place = order(0, 1).offset
    written = bytes(agent.pool.view(Region(place, agent.pool.size - place)))
    saver.finish(Step(saves=[order(1, 3)]))
    soon(lambda: agent.health.kv.get("tickets_failed"))
    soon(lambda: not saver._sessions)
    assert bytes(agent.pool.view(Region(place, agent.pool.size - place))) == written
    assert hand_on_again(prefill, agent) == "ready"
    first.close()


def test_what_was_not_ordered_by_layer_waits_for_the_end_of_the_step(start, agent):
    prefill = start("p")
    prefill.fill()
    ticket, order = prefill.reserve()
    step = Step(saves=[order(0, 3)])
    for layer in range(4):
        prefill.workers[0].saver.computed(layer, step)
    prefill.fill(KV * 2)
    prefill.workers[0].saver.finish(step)
    soon(lambda: agent.health.kv.get("tickets_ready"))
    decode = start("d")
    assert decode.load(ticket) == [set()]
    assert_has(decode, KV * 2)


@pytest.mark.parametrize("why", ["not finite", "abandoned"])
def test_a_ticket_that_fails_midway_is_written_no_more_and_frees_its_bytes(start, agent, why):
    prefill = start("p", tp=2)
    prefill.fill(KV / 0 if why == "not finite" else KV)
    ticket, order = prefill.reserve(Codec.INT4)
    for worker in prefill.workers:
        worker.saver.finish(Step(saves=[order(0, 1)]))
        last = Step(saves=[order(1, 3)]) if why == "not finite" else Step(abandoned=[ticket["ticket"]])
        worker.saver.finish(last)
    soon(lambda: agent.health.kv.get("tickets_failed"))
    assert start("d").load(ticket) == [{"d"}]
    prefill.door.call("ack", {"ticket": ticket}, timeout_s=5)
    soon(lambda: agent.pool.used_bytes == 0)
    assert not any(worker.saver._failed for worker in prefill.workers)


def test_all_bytes_of_the_pool_come_back(start, agent):
    prefill, decode = start("p"), start("d", tp=2)
    prefill.fill()
    ticket = prefill.hand_on()
    decode.load(ticket)
    decode.door.call("ack", {"ticket": ticket}, timeout_s=5)
    assert agent.pool.used_bytes == 0


def test_nan_in_one_rank_fails_the_load_of_whoever_needs_its_tiles(start, agent):
    prefill, decode = start("p", tp=2), start("d", tp=2)
    poisoned = KV.clone()
    poisoned[2, 1, 1, 100, 5] = float("nan")
    prefill.fill(poisoned)
    assert decode.load(prefill.hand_on(Codec.INT4))[1] == {"d"}
    assert agent.health.kv["tickets_failed"] == 1


def test_a_ticket_nobody_knows_fails_the_load(start):
    prefill, decode = start("p"), start("d", pp=2)
    prefill.fill()
    ticket = prefill.hand_on()
    assert decode.load({**ticket, "ticket": "0" * 16}) == [{"d"}, {"d"}]


def test_bytes_overwritten_between_agent_and_rank_are_noticed(start, monkeypatch):
    prefill, decode = start("p"), start("d")
    prefill.fill()
    worker = decode.workers[0]
    honest = worker._fetch

    @contextmanager
    def damaged(load, deadline):
        with honest(load, deadline) as tiles:
            tiles[1000] ^= 1
            yield tiles

    monkeypatch.setattr(worker, "_fetch", damaged)
    assert decode.load(prefill.hand_on()) == [{"d"}]


def test_a_load_that_waited_behind_others_for_all_its_time_fails_at_once(start, monkeypatch):
    prefill, decode = start("p"), start("d")
    prefill.fill()
    decode.workers[0]._fetch_timeout_s = 0.0
    asked = []
    monkeypatch.setattr(decode.workers[0]._door.session(), "call", lambda *_, **__: asked.append(1))
    assert decode.load(prefill.hand_on()) == [{"d"}]
    assert not asked


def test_a_load_that_waited_behind_others_may_begin_as_long_as_these_come(start):
    prefill, decode = start("p"), start("d")
    prefill.fill()
    ticket, worker = prefill.hand_on(), decode.workers[0]
    kv_format = KvFormat(GEOMETRY, TOKENS, Codec.RAW, 1)
    late = Load("d", ticket, kv_format, decode.blocks(), 0), time.monotonic() - 1, None
    worker._load(*late)
    assert _done(worker) == {"d"}
    assert decode.load(ticket) == [set()]
    worker._load(*late)
    assert _done(worker) == set()


def test_a_load_whose_kv_is_there_does_not_wait_behind_many_whose_prompts_are_computed(start):
    prefill, decode = start("p"), start("d")
    pending, _ = prefill.reserve()
    prefill.fill()
    ready, kv_format = prefill.hand_on(), KvFormat(GEOMETRY, TOKENS, Codec.RAW, 1)
    waiting = [Load(f"waits {number}", pending, kv_format, decode.blocks(), 0) for number in range(20)]
    decode.workers[0].start(Step(loads=waiting))
    assert decode.load(ready) == [set()]


def test_tiles_stay_in_the_pool_until_there_may_be_one_more_copy_of_them(start, agent, monkeypatch):
    prefill, decode = start("p"), start("d")
    prefill.fill()
    tickets, worker = [prefill.hand_on() for _ in range(3)], decode.workers[0]
    kv_format, filled = KvFormat(GEOMETRY, TOKENS, Codec.RAW, 1), threading.Event()
    size = Layout(kv_format, kv_format.whole).size
    honest = worker._fill
    monkeypatch.setattr(worker, "_fill", lambda *arguments: filled.wait(10) and honest(*arguments))
    monkeypatch.setattr(worker, "_ranks", (1 << 20) // (2 * size))  # as many as share the pool at two copies each
    before = agent.pool.used_bytes
    for number, ticket in enumerate(tickets):
        worker.start(Step(loads=[Load(f"d{number}", ticket, kv_format, decode.blocks(), 0)]))
    soon(lambda: agent.counts["fetches_done"] == 3 and worker._copies.held_bytes == 2 * size)
    soon(lambda: before < agent.pool.used_bytes < before + 2 * size)  # of the one that waits
    filled.set()
    done = set()
    soon(lambda: len(done.update(worker.outcome().received) or done) == 3)
    assert worker._copies.held_bytes == 0
    assert_has(decode)


def test_a_rank_that_fails_alone_says_so_and_the_others_are_done(start, monkeypatch):
    prefill, decode = start("p"), start("d", tp=2)
    prefill.fill()
    monkeypatch.setattr(decode.workers[1], "_fill", lambda *_: 1 / 0)
    assert decode.load(prefill.hand_on()) == [set(), {"d"}]


@pytest.mark.parametrize(("step", "rests"), [(Step(), 0), (Step(waits=True), 1)])
def test_a_step_in_which_requests_only_wait_rests_a_moment(start, monkeypatch, step, rests):
    worker, waited = start("d").workers[0], []
    monkeypatch.setattr(worker._loaded, "wait", waited.append)
    worker.rest(step)
    assert len(waited) == rests


def test_a_load_reports_even_when_our_own_code_breaks(start, monkeypatch):
    prefill, decode = start("p"), start("d")
    prefill.fill()
    monkeypatch.setattr(decode.workers[0], "_fill", lambda *_: 1 / 0)
    assert decode.load(prefill.hand_on()) == [{"d"}]


def test_a_save_for_an_agent_that_has_restarted_writes_nowhere_and_is_refused(start, agent):
    prefill = start("p")
    prefill.fill()
    kv_format = KvFormat(GEOMETRY, TOKENS, Codec.RAW, 1)
    fields = {"format": format_json(kv_format), "binding": "b", "ranks": 1, "readers": 1}
    answer = prefill.door.call("reserve", fields, timeout_s=5)
    place = prefill.blocks(), 0, answer["offset"], "another boot"
    save = Save(answer["ticket"]["ticket"], kv_format, (0, 3), *place)
    prefill.workers[0].saver.finish(Step(saves=[save]))
    soon(lambda: agent.health.kv.get("tickets_failed") == 1)  # said when the encoder was done with it
    assert not any(agent.pool.view(Region(answer["offset"], answer["length"])))
    assert prefill.load(prefill.hand_on()) == [set()]
    assert any(agent.pool.view(Region(0, agent.pool.size)))  # as an agent that has not restarted has it


def soon(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)
