"""Requests that wait in a decode engine's queue keep their tickets from expiring, here and at other agents."""

import asyncio
from functools import partial
from types import SimpleNamespace

import pytest

from runtime.connector.renewing import LIMIT_TICKETS, Renewing
from runtime.connector.scheduler import SchedulerSide
from runtime.relay.door import AgentDoor
from runtime.relay.greeting import LIMIT_MESSAGE_BYTES
from runtime.relay.ticket import TICKET_TTL_S, AgentAddress
from tests.runtime.relaying import FORMAT, Site, credentials_in, encoded
from tests.runtime.routing import Clock

PROMPT = list(range(FORMAT.tokens))


@pytest.fixture
async def sites(tmp_path):
    """An agent of a prefill engine and one of a decode engine, by the same clock."""
    clock, credentials = Clock(), credentials_in(tmp_path / "tls", ("p", "d"))
    made = [await Site(credentials, tmp_path, name, now=clock).start() for name in ("p", "d")]
    yield *made, clock
    for site in made:
        await site.stop()


@pytest.fixture
async def side(sites):
    """The scheduler of the decode engine."""
    _, decode, clock = sites
    door = AgentDoor(decode.door.path, owner="engine", rank=None)
    await asyncio.to_thread(door.open)
    yield SchedulerSide(
        door,
        geometry=FORMAT.geometry,
        bind=lambda _: "binding",
        block_size=64,
        ranks=1,
        boundary_layers=FORMAT.boundary_layers,
        now=clock,
    )
    door.close()


def request(ticket):
    return SimpleNamespace(
        request_id="r1",
        kv_transfer_params=ticket.to_json(),
        prompt_token_ids=PROMPT,
        num_prompt_tokens=len(PROMPT),
        prompt_embeds=None,
        mm_features=[],
        lora_request=None,
        resumable=False,
        status=SimpleNamespace(name="FINISHED_ABORTED"),
    )


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def was_renewed(site, times):
    return site.relay.counts["tickets_renewed"] == times


@pytest.mark.parametrize("source", ["another agent", "its own agent"])
async def test_a_ticket_lives_as_long_as_its_request_waits(sites, side, source):
    prefill, decode, clock = sites
    holder = prefill if source == "another agent" else decode
    ticket = encoded(holder)
    asked = request(ticket)
    side.arrived(asked)
    for renewals in range(1, 7):
        clock.seconds += TICKET_TTL_S / 3
        side.step()
        side.step()
        await until(partial(was_renewed, holder, renewals))
        holder.relay.sweep()
        assert holder.relay.health.tickets == 1
    side.finished(asked)
    clock.seconds += TICKET_TTL_S
    side.step()
    holder.relay.sweep()
    assert holder.relay.health.tickets == 0


def test_an_agent_gets_one_message_for_all_its_tickets_and_none_that_is_too_long():
    told, clock = [], Clock()

    def tell(what, fields):
        assert what == "renew"
        told.append((fields["agent"]["name"], len(fields["tickets"])))

    renewing = Renewing(tell, clock)
    agents = [AgentAddress("h", 1, f"{name}.agent.thunder") for name in "ab"]
    tickets = [SimpleNamespace(agent=agents[number % 2], ticket="ab" * 8, capability="c" * 256) for number in range(9)]
    renewing.renew(tickets)
    assert told == []
    clock.seconds += TICKET_TTL_S / 3
    renewing.renew(tickets)
    renewing.renew(tickets)
    assert told == [("a.agent.thunder", 5), ("b.agent.thunder", 4)]
    told.clear()
    clock.seconds += TICKET_TTL_S
    renewing.renew(tickets[:1] * (LIMIT_TICKETS + 1))
    assert told == [("a.agent.thunder", LIMIT_TICKETS), ("a.agent.thunder", 1)]
    assert LIMIT_TICKETS * len(str([tickets[0].ticket, tickets[0].capability])) + 1000 < LIMIT_MESSAGE_BYTES
