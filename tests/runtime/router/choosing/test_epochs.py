"""Epochs change while requests are under way, and while the router is killed: no request fails, no epoch is lost."""

import asyncio
import gc
import json
import os
import signal
import weakref
from itertools import cycle
from pathlib import Path

import aiohttp
import pytest

from runtime.messages import Routes
from runtime.router.app import open_routes
from runtime.router.choosing.affinity import Prompt
from runtime.router.choosing.epochs import RouteTable
from tests.fakes import OUTPUT_TOKENS, FakeEngine, serving
from tests.runtime.router.test_admin import router_process
from tests.runtime.routing import PAIR, routes_document, routing, soon
from tests.runtime.supervising import wait_for

CHANGES, CLIENTS, BETWEEN = 20, 12, 30
"""Epochs; clients that ask one request after another; requests answered before the next epoch comes."""


def plan(engines: dict[str, FakeEngine], epoch: int, pairs: tuple[str, ...], phases: dict[str, str]) -> dict:
    """Routes of equal share, such as `a>b`; `a>a` is local. Replicas of a phase that no route names are left out."""
    ends = [tuple(pair.split(">")) for pair in pairs]
    routes = [(p, d, 1 / len(ends), "local" if p == d else "int4") for p, d in ends]
    used = {name: engines[name] for name in dict.fromkeys(name for pair in ends for name in pair)}
    document = routes_document({f"m{name}": fake for name, fake in used.items()}, [], epoch=epoch)
    document["replicas"] = [
        {**replica, "id": name, "phase": phases[name]} for name, replica in zip(used, document["replicas"], strict=True)
    ]
    document["routes"] = [dict(zip(("prefill", "decode", "share", "codec"), route, strict=True)) for route in routes]
    return document


PLANS = [
    (("a>c", "b>d"), {"a": "prefill", "b": "prefill", "c": "decode", "d": "decode"}),
    (("a>d", "b>c"), {"a": "prefill", "b": "prefill", "c": "decode", "d": "decode"}),
    (("a>b", "d>c"), {"a": "prefill", "d": "prefill", "b": "decode", "c": "decode"}),
    (("a>c",), {"a": "prefill", "c": "decode"}),
    (("d>d", "b>c"), {"b": "prefill", "c": "decode", "d": "mixed"}),
]


async def test_epochs_change_under_load_and_no_request_fails(tmp_path: Path):
    """Row 20: pairs are exchanged, replicas flip, leave and come back. Each request stays within one epoch."""
    engines = {name: FakeEngine(name) for name in "abcd"}
    answered: list[str] = []
    waiting: asyncio.Event = asyncio.Event()

    async def client(router, number: int) -> None:
        while not waiting.is_set():
            key = f"r{number}-{len(answered)}"
            async with router.http.post(
                f"{router.url}/v1/completions",
                json={"prompt": key, "stream": number % 2 == 0},
                headers={"X-Request-Id": key},
            ) as response:
                text = await response.text()
            assert response.status == 200, text
            assert "error" not in text
            assert text.count(f"{OUTPUT_TOKENS}") >= 1
            answered.append(key)

    async with serving(*engines.values()):
        async with routing(tmp_path, plan(engines, 1, *PLANS[0])) as router, asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(client(router, number))
            plans = cycle(PLANS)
            for epoch in range(1, CHANGES + 1):
                assert (await router.put(plan(engines, epoch, *next(plans))))[0] == 200
                due = len(answered) + BETWEEN
                while len(answered) < due:
                    await asyncio.sleep(0.001)
            waiting.set()
        seen = {name: fake.seen for name, fake in engines.items()}
    legs: dict[str, list[tuple[bool, str]]] = {}
    for name, requests in seen.items():
        for request in requests:
            prefills = bool(request.transfer.get("do_remote_decode"))
            key = request.headers["X-Request-Id"].rpartition("-")[0]
            legs.setdefault(key, []).append((not prefills, name))
    pairs = {">".join([name for _, name in sorted(found)]) for found in legs.values()}
    assert set(legs) == set(answered)
    assert len(answered) >= CHANGES * BETWEEN
    assert pairs <= {pair if pair != "d>d" else "d" for pairs, _ in PLANS for pair in pairs}
    assert len(pairs) == len({pair for pairs, _ in PLANS for pair in pairs})


async def test_a_replica_that_a_request_is_yet_to_come_to_is_not_empty(tmp_path: Path):
    """Its prompt is computed elsewhere, and a plan without its decode replica comes meanwhile."""
    engines = {"p0": FakeEngine("p", hang=True), "d0": FakeEngine("d", drip=True), "d1": FakeEngine("d")}
    async with serving(*engines.values()), routing(tmp_path, routes_document(engines, PAIR)) as router:
        asking = asyncio.create_task(router.events(prompt="hi", max_tokens=2))
        await soon(engines["p0"].arrived)
        await router.put(routes_document(engines, [("p0", "d1", 1.0, "int4")], epoch=2))
        assert (await router.observed())["in_flight_at"] == {"p0": 1, "d0": 1}
        engines["p0"].released.set()
        await soon(engines["d0"].arrived)
        assert (await router.observed())["in_flight_at"] == {"d0": 1}
        engines["d0"].released.set()
        await asking
        assert (await router.observed())["in_flight_at"] == {}


def bulky(epoch: int) -> dict:
    """Routes that take a while to be written."""
    engines = {f"m{number}": FakeEngine(url=f"http://127.0.0.1:{number + 1}") for number in range(300)}
    return routes_document(engines, [(name, name, 1 / 300, "local") for name in engines], epoch=epoch)


@pytest.mark.parametrize("pushed", [1, 3, 8])
async def test_a_router_killed_while_routes_are_pushed_comes_back_with_the_last_epoch_it_said_yes_to(
    tmp_path: Path, pushed: int
):
    """SIGKILL while the file of a pushed epoch is written, after so many: it is whole, and no epoch is undone."""
    path, state_path = tmp_path / "routes.json", tmp_path / "router.json"
    fresh = tmp_path / ".routes.json.new"
    path.write_text(json.dumps(bulky(1)))
    accepted = 1
    with router_process(tmp_path) as process:
        await asyncio.to_thread(wait_for, state_path.exists)
        url = url_of(state_path)
        async with aiohttp.ClientSession(headers={"Authorization": "Bearer t"}) as http:

            async def push() -> None:
                nonlocal accepted
                for epoch in range(2, 10_000):
                    async with http.put(f"{url}/admin/routes", json=bulky(epoch)) as response:
                        assert response.status == 200
                    accepted = epoch

            pushing = asyncio.create_task(push())
            while accepted <= pushed or not (fresh.exists() or pushing.done()):
                await asyncio.sleep(0)
            os.kill(process.pid, signal.SIGKILL)
            with pytest.raises(aiohttp.ClientError):
                await pushing
    found = Routes.from_json(json.loads(path.read_bytes()))
    assert accepted > pushed
    assert found.epoch in (accepted, accepted + 1)  # the one under way is written before it is answered
    assert len(found.replicas) == 300
    state_path.unlink()
    with router_process(tmp_path):
        await asyncio.to_thread(wait_for, state_path.exists)
        headers = {"Authorization": "Bearer t"}
        async with aiohttp.ClientSession(headers=headers) as http, http.get(f"{url_of(state_path)}/health") as health:
            assert (await health.json())["epoch"] == found.epoch
            async with http.put(f"{url_of(state_path)}/admin/routes", json=bulky(found.epoch - 1)) as response:
                assert response.status == 409
    assert open_routes(path, tls=None).current.number == found.epoch


def url_of(state_path: Path) -> str:
    state = json.loads(state_path.read_text())
    return f"http://{state['host']}:{state['port']}"


def test_what_was_learned_of_tokens_and_load_outlives_an_epoch(tmp_path: Path):
    path = tmp_path / "routes.json"
    path.write_text(json.dumps(bulky(1)))
    table = open_routes(path, tls=None)
    table.current.load.requests["m0"] = 1
    table.tokens.saw(100, 100)
    learned = table.tokens.of(1000)
    table.replace(bulky(2))
    assert table.current.number == 2
    assert (table.current.load.requests["m0"], table.tokens.of(1000)) == (1, learned)


def pair(epoch: int, *, rate: float = 1000.0, decode: str = "d0") -> dict:
    """A route that lets prompts of fewer than 200 tokens bypass, and rests of that many."""
    engines = {name: FakeEngine(url=f"http://127.0.0.1/{name}") for name in ("p0", decode)}
    document = routes_document(engines, [("p0", decode, 1.0, "int4")], epoch=epoch)
    document["routes"][0]["local_below_tokens"] = 200
    document["replicas"][1]["local_tokens_per_s"] = rate
    return document


def table_of(path: Path, document: dict) -> RouteTable:
    path.write_text(json.dumps(document))
    return open_routes(path, tls=None)


def test_epochs_that_nobody_waits_for_any_more_are_forgotten(tmp_path: Path):
    table = table_of(tmp_path / "routes.json", pair(1))
    old = [weakref.ref(table.current.policy)]
    kept = table.current
    kept.in_flight = 1
    for epoch in range(2, 6):
        table.replace(pair(epoch))
        old.append(weakref.ref(table.current.policy))
    gc.collect()
    assert [found() is not None for found in old] == [True, False, False, False, True]
    assert table.in_flight() == {1: 1, 5: 0}


def test_where_older_epochs_send_requests_is_known_as_long_as_they_have_any(tmp_path: Path):
    table = table_of(tmp_path / "routes.json", pair(1))
    kept = table.current
    kept.in_flight = 1
    table.replace(pair(2, decode="d1"))
    assert {replica.id for replica in table.addresses()} == {"p0", "d0", "d1"}
    kept.in_flight = 0
    assert {replica.id for replica in table.addresses()} == {"p0", "d1"}


def test_what_replicas_that_stay_have_of_prompts_outlives_an_epoch(tmp_path: Path):
    table = table_of(tmp_path / "routes.json", pair(1))
    question = "why " * 1000
    first, then = (Prompt({"prompt": text}, len(text)) for text in (question, question + "and?"))
    table.current.policy.computed(first, ["p0", "d0"])
    table.replace(pair(2))
    assert table.current.policy.choose(lambda _: True, then).prefill is None
    table.replace(pair(3, decode="d1"))
    assert table.current.policy.choose(lambda _: True, then).prefill == "p0"


def test_a_new_epoch_gives_no_replica_its_budget_of_prompts_anew(tmp_path: Path):
    table = table_of(tmp_path / "routes.json", pair(1, rate=1e-3))
    prompt = Prompt({"prompt": "why " * 100}, 400)
    assert table.current.policy.choose(lambda _: True, prompt).prefill is None
    table.replace(pair(2, rate=1e-3))
    assert table.current.policy.choose(lambda _: True, prompt).prefill == "p0"
