"""Many transfers between two real agents, some with faults: afterwards both hold what they began with.

`make soak` makes a thousand of them; the suite as many as show every fault once.
"""

import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import pytest

from planner.deployment import Codec
from runtime.relay.session import AgentRefused
from runtime.tiles.format import KvFormat
from runtime.tiles.geometry import Geometry
from tests.runtime.agents import (
    CALL_S,
    Json,
    Pair,
    acknowledge,
    agent_pair,
    encoded,
    fetched,
    prompt,
    reserve,
    soon,
    tiles_of,
)
from tests.runtime.wire import cut, flip, stall

ROUNDS = int(os.environ.get("THUNDER_SOAK_ROUNDS", "3"))
AT_ONCE = 6
FORMATS = [
    KvFormat(Geometry(4, 2, 64, "float16"), 200, Codec.INT4, boundary_layers=1),
    KvFormat(Geometry(2, 3, 64, "bfloat16"), 64, Codec.INT8),
    KvFormat(Geometry(3, 1, 128, "float16"), 130, Codec.RAW),
]
LARGE = KvFormat(Geometry(8, 8, 128, "float16"), 256, Codec.RAW)
"""8 MiB, so that a fault of the wire finds it in the middle."""
MIB = 1 << 20
POOL = 48 * MIB
TTL_S = 6.0


def damaged(pair: Pair) -> Json:
    return prompt(pair.source, FORMATS[0], sound=False)


def wrong_capability(pair: Pair) -> Json:
    return {**prompt(pair.source, FORMATS[1]), "capability": "guess"}


def of_another_prompt(pair: Pair) -> Json:
    mine, other = prompt(pair.source, FORMATS[0]), prompt(pair.source, FORMATS[0])
    acknowledge(pair.target, mine)
    return {**mine, "capability": other["capability"]}


def gone(pair: Pair) -> Json:
    ticket = prompt(pair.source, FORMATS[2])
    acknowledge(pair.target, ticket)
    return ticket


def never_encoded(pair: Pair) -> Json:
    """Its bytes stay the engine's, which may write them yet, as long as that lives."""
    return reserve(pair.source, FORMATS[1])["ticket"]


def not_encodable(pair: Pair) -> Json:
    ticket = reserve(pair.source, FORMATS[1])["ticket"]
    pair.source.door.call("encode_failed", {"ticket": ticket["ticket"], "reason": "NaN"}, timeout_s=CALL_S)
    return ticket


def too_large(pair: Pair) -> Json:
    """It gets no ticket at all."""
    return reserve(pair.source, KvFormat(LARGE.geometry, 8192, Codec.RAW))["ticket"]


def read_by_an_engine_that_dies(pair: Pair) -> Json:
    """The engine has its tiles, and never gives them back."""
    ticket, engine = prompt(pair.source, FORMATS[0]), pair.target.engine(rank=7)
    engine.call("fetch", {"ticket": ticket, "box": [0, 4, 0, 2, 0, 4], "timeout_s": 5.0}, timeout_s=CALL_S)
    engine.close()
    raise AgentRefused("the engine died", "dead")


def from_an_engine_that_dies(pair: Pair) -> Json:
    """Of two ranks one encodes; the other one is gone before."""
    engine = pair.source.engine(rank=1)
    engine.call("note", {"what": "here"}, timeout_s=CALL_S)
    ticket = reserve(pair.source, FORMATS[0], ranks=2)["ticket"]
    engine.close()
    encoded(pair.source, ticket)
    return ticket


TICKET_FAULTS: list[Callable[[Pair], Json]] = [
    damaged,
    wrong_capability,
    of_another_prompt,
    gone,
    never_encoded,
    not_encodable,
    too_large,
    read_by_an_engine_that_dies,
    from_an_engine_that_dies,
]


def sound(pair: Pair, number: int, readers: ThreadPoolExecutor) -> str:
    """A transfer to one reader or several at once, checked to the last bit."""
    count = 1 + number % 3 * (number % 2)
    ticket = prompt(pair.source, FORMATS[number % len(FORMATS)], readers=count)
    got = list(readers.map(lambda _: fetched(pair.target, ticket, timeout_s=20.0), range(count)))
    for _ in range(count):
        acknowledge(pair.target, ticket)
    return "right" if got == [tiles_of(ticket)] * count else "wrong"


def faulty(pair: Pair, fault: Callable[[Pair], Json]) -> str:
    """Refused in words, by either agent."""
    try:
        fetched(pair.target, fault(pair), timeout_s=0.5)
    except AgentRefused:
        return "refused"
    return "taken"


def over_a_broken_wire(pair: Pair, fault: Callable[..., bytes]) -> str:
    """What is lost or altered on its way comes again; what stalls is given up."""
    ticket, timeout_s = prompt(pair.source, LARGE), 1.5 if fault is stall else 20.0
    pair.wire.break_after(MIB, fault)
    try:
        verdict = "right" if fetched(pair.target, ticket, timeout_s=timeout_s) == tiles_of(ticket) else "wrong"
    except AgentRefused:
        verdict = "refused"
    assert pair.wire.happened.is_set()
    pair.wire.mend()
    acknowledge(pair.target, ticket)
    return verdict


@pytest.mark.timeout(300)
def test_after_many_transfers_with_faults_agents_hold_what_they_began_with(tmp_path):
    verdicts: Counter[str] = Counter()
    faults, wire_faults = cycle(TICKET_FAULTS), cycle([cut, flip, stall])
    with (
        agent_pair(tmp_path, pool_bytes=POOL, ticket_ttl_s=TTL_S) as pair,
        ThreadPoolExecutor(AT_ONCE) as workers,
        ThreadPoolExecutor(AT_ONCE) as readers,
    ):
        before = what_is_held(pair)
        for start in range(0, 50 * ROUNDS, 50):
            broken = [workers.submit(faulty, pair, next(faults)) for _ in range(3)]
            whole = [workers.submit(sound, pair, number, readers) for number in range(start, start + 46)]
            verdicts.update(future.result() for future in (*broken, *whole))
            verdicts[over_a_broken_wire(pair, next(wire_faults))] += 1
        print(dict(verdicts), pair.source.health.kv, pair.target.health.kv)
        stalled = ROUNDS // 3
        assert verdicts == {"right": 47 * ROUNDS - stalled, "refused": 3 * ROUNDS + stalled}
        pair.source.door.close()
        assert soon(lambda: pair.is_empty, 2 * TTL_S), (pair.source.health, pair.target.health)
        pair.source.door = pair.source.engine()
        assert soon(lambda: what_is_held(pair) == before), (what_is_held(pair), before)
        for agent in (pair.source, pair.target):
            assert "Traceback" not in agent.log


def what_is_held(pair: Pair) -> object:
    """By each agent, when nothing is connected: file descriptors and sockets. Bounds its threads and its memory."""
    pair.wire.hang_up()
    for agent in (pair.source, pair.target):
        assert agent.threads <= (os.cpu_count() or 1) + 5, "asyncio's own pool, and no more"
        assert agent.private_bytes < 100 * MIB
    return [agent.descriptors for agent in (pair.source, pair.target)]
