"""Several providers asked for their live offers at once; one that fails is named, and spoils none of the others."""

import asyncio
from dataclasses import replace

import pytest

from planner.errors import AuthError, HostError, SpecError
from planner.market import Market, Source, snapshot
from thunderctl.markets import markets
from thunderctl.markets.markets import dated_for, live_market, named
from thunderctl.spec.spec import Spec, override_spec, parse_spec

[OFFER, OTHER, *_] = (replace(offer, leasable=True) for offer in snapshot().offers)


def selling(*offers):
    async def ask(_spec, _narrate):
        return offers

    return ask


def failing(error):
    async def ask(_spec, _narrate):
        raise error

    return ask


async def silent(_spec, _narrate):
    await asyncio.Event().wait()


@pytest.fixture
def said():
    return []


def test_all_are_asked_at_once_and_their_offers_are_one_market(said):
    met = asyncio.Barrier(2)

    def meeting(offer):
        async def ask(_spec, _narrate):
            await met.wait()  # never returns unless the other is asked meanwhile
            return (offer,)

        return ask

    found = live_market(Spec(), ["one", "two"], said.append, {"one": meeting(OFFER), "two": meeting(OTHER)})
    assert found.offers == (OFFER, OTHER)
    assert (found.source, found.sources) == ("live", (Source("one", live=True), Source("two", live=True)))
    assert not said


def test_one_that_fails_is_named_with_what_mends_it_and_the_others_still_sell(said):
    asked = {
        "good": selling(OFFER),
        "locked": failing(AuthError("No key.", hint="Set one.")),
        "gone": failing(HostError("It does not answer.")),
    }
    found = live_market(Spec(), ["good", "locked", "gone", "never heard of"], said.append, asked)
    assert found.offers == (OFFER,)
    assert {source.provider: source.problem for source in found.sources} == {
        "good": "",
        "locked": "No key. Set one.",
        "gone": "It does not answer.",
        "never heard of": "never heard of can't be asked yet.",
    }
    assert "locked has no live offers: No key. Set one." in said


def test_one_that_never_answers_has_a_deadline(said, monkeypatch):
    monkeypatch.setattr(markets, "ANSWER_S", 0.01)
    found = live_market(Spec(), ["good", "mute"], said.append, {"good": selling(OFFER), "mute": silent})
    assert found.offers == (OFFER,)
    assert said == ["mute has no live offers: mute gave no answer within 0.01 s."]


def test_what_the_user_wrote_wrongly_is_no_market_failure(said):
    with pytest.raises(SpecError, match="wrong key"):
        live_market(Spec(), ["one"], said.append, {"one": failing(SpecError("wrong key"))})


def test_who_is_named_is_asked_and_who_costs_nothing_to_ask():
    assert named(Spec()) == {"ssh"}
    assert named(parse_spec('[markets]\nproviders = ["vast", "local"]')) == {"vast", "local"}
    flags = {"--provider": {"markets": {"providers": ["vast"]}}}
    assert named(override_spec(Spec(), flags)) == {"vast"}


def test_of_those_that_did_not_answer_there_are_the_dated_offers_which_nobody_can_rent():
    live = Market((OFFER,), "2030-01-01T00:00:00Z", "live", (Source("vast", live=True), Source("aws", live=False)))
    found = dated_for(live, ["vast", "aws"])
    assert (found.source, found.as_of) == ("snapshot", snapshot().as_of)
    assert {(offer.provider, offer.leasable) for offer in found.offers[1:]} == {("aws", False)}
    assert found.sources == live.sources
    assert dated_for(live, ["vast"]) is live
    assert dated_for(live, ["vast", "ssh"]) is live  # of which no snapshot knows
