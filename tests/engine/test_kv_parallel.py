"""KV crosses between an engine of two ranks by heads, one of two stages of 3 and 5 layers, and one of a single rank."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from runtime.codec.rows import decode, rows_of
from runtime.connector.handing import BACK_OFF_S
from runtime.relay.relay import Relay
from runtime.relay.ticket import Ticket
from runtime.tiles.box import Box
from runtime.tiles.geometry import GROUP_TOKENS
from runtime.tiles.layout import Layout
from tests.engine.held_out import prompts
from tests.engine.kv_world import ATTEMPTS, TINY, Side, World, compared, soon, whole

pytestmark = [pytest.mark.engine, pytest.mark.engine_env, pytest.mark.timeout(600)]

LENGTHS = [5, 129, 640]
SIDES = {"TP2": "tp2", "PP2": "pp2", "TP1": "p"}
RANKS = {"tp2": 2, "pp2": 2, "p": 1}

ROUNDING = 0.01
"""Of a tile's numbers, as a norm: engines that add in another order come as near as this."""


@pytest.fixture(scope="module")
def engines(engines: World) -> Iterator[World]:
    """Beside the two that several files share, of which P is the single rank."""
    uncached = replace(TINY, extra_args=("--no-enable-prefix-caching",))
    by_heads, by_layers = replace(uncached, tp=2), replace(uncached, pp=2, layer_partition=(3, 5))
    with engines.joined(tp2=by_heads, pp2=by_layers):
        yield engines


@pytest.fixture(scope="module")
def answered(engines: World) -> list[tuple[list[int], dict[str, Any]]]:
    """Prompts, and the single rank's answers."""
    single = engines.prefill
    return [(prompt, single.complete(prompt, 12, logprobs=2)) for prompt in prompts(LENGTHS, skip=120_000)]


ROUND = [("TP2", "PP2"), ("PP2", "TP1"), ("TP1", "TP2")]
"""Each once where KV comes from, and once where it goes to; `make soak` runs the ways back."""
BACK = [pytest.param(here, there, marks=pytest.mark.soak) for there, here in ROUND]


@pytest.mark.parametrize(("there", "here"), [*ROUND, *BACK])
def test_unequal_parallelism_gives_the_single_ranks_tokens(
    engines: World, answered: list[tuple[list[int], dict[str, Any]]], there: str, here: str
) -> None:
    source, target = engines.sides[SIDES[there]], engines.sides[SIDES[here]]
    for prompt, single in answered:
        assert any(crosses(engines, source, target, prompt, single) for _ in range(ATTEMPTS)), target.log[-3000:]


def crosses(engines: World, there: Side, here: Side, prompt: list[int], single: dict[str, Any]) -> bool:
    """Whether every rank fetched; the answer is right in any case.

    vLLM's idle ranks spin, which on two cores can keep the agents from answering in time: no ticket then, or no tiles.
    """
    before = here.counted("fetches_done")
    ticket = engines.ticket(prompt, at=there)
    answer = here.complete(prompt, 12, kv_transfer_params=ticket)
    assert compared(answer, single) in ("equal", "near tie")
    if here.counted("fetches_done") == before + RANKS[here.name]:
        return True
    time.sleep(BACK_OFF_S)
    return False


def test_every_tile_holds_the_same_numbers_whatever_ranks_computed_it(engines: World) -> None:
    (prompt,) = prompts([5 * GROUP_TOKENS], skip=140_000)
    single, *others = (tiles_of(engines, engines.sides[name], prompt) for name in ("p", "tp2", "pp2"))
    layers, heads, groups, _ = single.shape
    assert (layers, heads, groups) == (8, 2, 5)
    wanted = single.flatten(0, 2)
    for tiles in others:
        apart = torch.cdist(tiles.flatten(0, 2), wanted) / wanted.norm(dim=1)
        print(f"same tile: {apart.diagonal().max():.2g} apart at most", end="; ")
        assert apart.diagonal().max() < ROUNDING
        apart.fill_diagonal_(torch.inf)
        print(f"other tiles: {apart.min():.2g} at least")
        assert apart.min() > 10 * ROUNDING  # else a tile in another's place would pass


def tiles_of(engines: World, side: Side, prompt: list[int]) -> Tensor:
    """The KV that an engine handed on, `[layers, heads, groups, numbers of a tile]`; whole groups only."""
    ticket = Ticket.from_json(engines.ticket(prompt, at=side))
    layout, data = Layout(ticket.format, ticket.format.whole), engines.run(encoded(side.relay, ticket))
    parts = []
    for rows in rows_of(layout, layout.box):
        keys, values = decode(rows, memoryview(data)[rows.offset : rows.offset + rows.size], ticket.tag)
        parts.append(torch.stack((keys, values), dim=2))
    kv = torch.cat(parts).float().unflatten(3, (-1, GROUP_TOKENS))
    return kv.transpose(2, 3).flatten(3)


async def encoded(relay: Relay, ticket: Ticket) -> bytearray:
    async with relay.reading(ticket.ticket, ticket.capability, ticket.binding, 20) as reading:
        return bytearray(await whole(reading))


def test_when_one_rank_fails_all_recompute_and_the_client_gets_the_answer(
    engines: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first rank of TP2 encodes its share, and its second one reports that it could not."""
    (prompt,) = prompts([400], skip=150_000)
    source, target = engines.sides["tp2"], engines.sides["pp2"]
    relay, done = source.relay, target.counted("fetches_done")
    failed = target.counted("fetches_failed_TicketFailed")
    well, encode = [], relay.encoded

    def encoded_by_one(name: str, rank: int, seconds: float) -> None:
        if rank == 1:
            relay.encode_failed(name, rank, "made up")
        else:
            well.append(name)
            encode(name, rank, seconds)

    monkeypatch.setattr(relay, "encoded", encoded_by_one)
    ticket = engines.ticket(prompt, at=source)
    answer = target.complete(prompt, 12, kv_transfer_params=ticket)
    assert compared(answer, source.complete(prompt, 12, logprobs=2)) in ("equal", "near tie")
    assert soon(lambda: ticket["ticket"] in well)
    assert target.counted("fetches_done") == done
    assert target.counted("fetches_failed_TicketFailed") == failed + RANKS["pp2"]
    assert all("Traceback" not in side.log for side in engines.sides.values())


def test_when_the_tiles_of_one_rank_are_damaged_the_other_reports_as_well(engines: World) -> None:
    (prompt,) = prompts([410], skip=151_000)
    assert any(one_rank_failed(engines, prompt) for _ in range(ATTEMPTS)), engines.sides["pp2"].log[-3000:]


def one_rank_failed(engines: World, prompt: list[int]) -> bool:
    """Whether just one of PP2's two stages lacked its tiles, of layers 3 to 7; the answer is right in any case."""
    source, target = engines.sides["tp2"], engines.sides["pp2"]
    done, failed = (target.counted(name) for name in ("fetches_done", "fetches_failed_PeerUnreachable"))
    ticket = engines.ticket(prompt, at=source)
    engines.run(damaged(source.relay, Ticket.from_json(ticket), Box((3, 8), (0, 2), (0, 7))))
    answer = target.complete(prompt, 12, kv_transfer_params=ticket)
    assert compared(answer, source.complete(prompt, 12, logprobs=2)) in ("equal", "near tie")
    now = tuple(target.counted(name) for name in ("fetches_done", "fetches_failed_PeerUnreachable"))
    return now == (done + 1, failed + 1)


async def damaged(relay: Relay, ticket: Ticket, box: Box) -> None:
    async with relay.reading(ticket.ticket, ticket.capability, ticket.binding, 20) as reading:
        data = await whole(reading)
        for offset, length in Layout(ticket.format, ticket.format.whole).runs(box):
            data[offset + 100 : offset + length : 500] = bytes(len(range(100, length, 500)))
