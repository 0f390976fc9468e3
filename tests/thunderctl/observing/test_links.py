"""What agents measured between instances, and what a plan takes of it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from planner.catalog import Link
from planner.deployment import Codec, Phase, Replica, Route, Stage
from planner.links import link_between
from provisioners.leases.journal import LeaseState
from runtime.agent.config import AgentConfig
from runtime.files import write_json
from runtime.messages import CONTROLLER_NAME, AgentHealth, agent_name
from runtime.relay.door import AgentDoor
from runtime.relay.ticket import Ticket, format_json
from runtime.tiles.format import KvFormat
from runtime.tiles.frame import seal
from runtime.tiles.geometry import Geometry
from runtime.tiles.layout import Layout
from runtime.tls import client_context
from tests.engine.processes import ended
from tests.planner.plans import split_plan
from tests.thunderctl.observing.observed import heard, seen, view
from thunderctl.cli.tables.links import left_out
from thunderctl.keys.certificates import ensure_authority, issue
from thunderctl.observing.links import RECENT_S, Basis, KnownLinks, known_links, measured_links, planned_links
from thunderctl.processes.agents import Agents
from thunderctl.status.status import status_document
from thunderctl.store.values import Deployment

ROOT = Path(__file__).parents[3]


def far_plan():
    """Prefill on i1, decode on i2, in one private network."""
    plan = split_plan()
    ends = (Replica("r0", Phase.PREFILL, (Stage("i1", (0,), 32),), 4.0, 90_000),)
    ends += (Replica("r1", Phase.DECODE, (Stage("i2", (0,), 32),), 7.0, 90_000),)
    return replace(plan, replicas=ends, routes=(Route("r0", "r1", 1.0, Codec.RAW, 1.0),))


def known(*measured, stated=()):
    views = view("i0"), view("i1"), view("i2", *measured)
    return known_links(far_plan(), dict(stated), measured_links(seen(*views)))


def between(links, source, target):
    plan = far_plan()
    return link_between(plan.instance(source), plan.instance(target), links.links)


def test_a_link_goes_from_the_agent_that_is_named_to_the_one_that_measured():
    (link,) = measured_links(seen(view("i1"), view("i2", heard("i1"))))
    assert (link.source, link.target, link.link) == ("i1", "i2", Link(3.0, 0.4))


def test_agents_of_instances_that_are_gone_or_of_others_say_nothing():
    views = view("i1", state=LeaseState.DELETING), view("i2", heard("i1"), heard("elsewhere"))
    assert measured_links(seen(*views)) == ()


def test_a_plan_takes_what_was_measured_and_the_estimate_where_nothing_was():
    links = known(heard("i1"))
    assert between(links, "i1", "i2").bandwidth_gbit_per_s == 3.0
    assert not between(links, "i1", "i2").estimated
    assert between(links, "i2", "i1").estimated


@pytest.mark.parametrize("stated", [("i1", "i2"), ("o1", "o2")], ids=["by instance", "by offer"])
def test_a_stated_link_wins(stated):
    links = known(heard("i1"), stated=[(stated, Link(0.5, 9.0))])
    assert between(links, "i1", "i2").bandwidth_gbit_per_s == 0.5
    (planned,) = planned_links(far_plan(), links)
    assert planned.basis is Basis.STATED


@pytest.mark.parametrize(
    "half", [heard("i1", gbit_per_s=None), heard("i1", latency_ms=None), heard("i1", age_s=RECENT_S + 1)]
)
def test_what_is_half_measured_or_old_is_estimated(half):
    links = known(half)
    assert links.links == {}
    (planned,) = planned_links(far_plan(), links)
    assert (planned.source, planned.target, planned.basis) == ("i1", "i2", Basis.ESTIMATED)


def test_what_is_too_old_is_said():
    old = measured_links(seen(view("i1"), view("i2", heard("i1", age_s=9000.0))))
    assert list(left_out(old)) == ["The link i1 → i2 was last heard from 2.5 h ago: it is estimated."]
    assert list(left_out(measured_links(seen(view("i1"), view("i2", heard("i1")))))) == []


def test_links_planned_with_are_those_under_routes_and_those_that_are_known():
    planned = planned_links(far_plan(), known(heard("i0")))
    assert {(one.source, one.target, one.basis) for one in planned} == {
        ("i1", "i2", Basis.ESTIMATED),
        ("i0", "i2", Basis.MEASURED),
    }


def test_status_has_every_link_as_it_was_measured():
    observation = seen(view("i1"), view("i2", heard("i1", latency_ms=None), heard("i1", age_s=4000.0)))
    document = status_document(Deployment("d"), far_plan(), observation, 0.0)
    ends = {"from": "i1", "to": "i2", "bandwidth_gbit_per_s": 3.0}
    assert document["links"] == [
        {**ends, "latency_ms": None, "age_s": 5.0, "recent": True},
        {**ends, "latency_ms": 0.4, "age_s": 4000.0, "recent": False},
    ]


LEASES = ("lease-i1", "lease-i2")
PROMPT = KvFormat(Geometry(2, 2, 64, "float16"), 1500, Codec.RAW)


@contextmanager
def real_agents(folder: Path) -> Iterator[list[Path]]:
    """An agent process for each lease, in a folder of its own below `folder`."""
    ensure_authority(folder / "ca")
    issue(folder / "ca", CONTROLLER_NAME, folder / "operator")
    with ExitStack() as processes:
        for lease in LEASES:
            issue(folder / "ca", agent_name(lease), folder / lease / "tls")
            write_json(folder / lease / "agent.json", AgentConfig(lease, pool_bytes=8 << 20).to_json())
            argv = [sys.executable, "-P", "-m", "runtime.agent", "agent.json"]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            process = subprocess.Popen(argv, cwd=folder / lease, env=environment, stderr=subprocess.DEVNULL)
            processes.enter_context(ended(process))
        yield [folder / lease for lease in LEASES]


def doors(agent: Path, processes: ExitStack) -> list[AgentDoor]:
    """The scheduler and the one rank of an engine at its agent's door."""
    socket = str(agent / "run" / "connector.sock")
    found = [AgentDoor(socket, owner=agent.name, rank=rank) for rank in (None, 0)]
    for door in found:
        door.open()
        door.call("note", {"what": "here"}, timeout_s=5)
        processes.callback(door.close)
    return found


def move(there: Path, here: Path) -> None:
    """A ticket's tiles, from one agent to the other."""
    with ExitStack() as opened:
        (scheduler, rank), (_, reader) = doors(there, opened), doors(here, opened)
        fields = {"format": format_json(PROMPT), "binding": "b", "ranks": 1, "readers": 1}
        answer = scheduler.call("reserve", fields, timeout_s=5)
        memory, ticket = rank.session().memory, Ticket.from_json(answer["ticket"])
        for tile, at, length in Layout(PROMPT, PROMPT.whole).frames():
            seal(memory.view(answer["offset"] + at, length), PROMPT.prefix(tile, ticket.tag))
        rank.call("encoded", {"ticket": ticket.ticket, "seconds": 0.1}, timeout_s=5)
        fields = {"ticket": answer["ticket"], "box": PROMPT.whole.row, "timeout_s": 5}
        assert reader.call("fetch", fields, timeout_s=10)["length"] == ticket.bytes


async def healths(folder: Path) -> list[AgentHealth]:
    async with Agents(client_context(folder / "operator")) as agents:
        ports = [json.loads((folder / lease / "run" / "agent.pid.json").read_text())["port"] for lease in LEASES]
        found = zip(LEASES, ports, strict=True)
        return [await agents.at(lease, "127.0.0.1", port).health() for lease, port in found]


async def test_agents_that_moved_tiles_give_a_plan_its_links(tmp_path):
    with real_agents(tmp_path) as (there, here):
        async with asyncio.timeout(60):
            while not all((agent / "run" / "agent.pid.json").exists() for agent in (there, here)):
                await asyncio.sleep(0.05)
            await asyncio.to_thread(move, there, here)
            links = KnownLinks({}, {})
            while not links.measured:  # the latency comes with a probe, seconds later
                await asyncio.sleep(0.2)
                views = [replace(view(i), health=h) for i, h in zip(("i1", "i2"), await healths(tmp_path), strict=True)]
                links = known_links(far_plan(), {}, measured_links(seen(*views)))
    (planned,) = planned_links(far_plan(), links)
    assert (planned.source, planned.target, planned.basis) == ("i1", "i2", Basis.MEASURED)
    assert planned.link.bandwidth_gbit_per_s > 0.01
    assert 0 < planned.link.latency_ms < 1000
