"""A fleet on a market that takes offers away, makes machines of no use and loses answers; in virtual time."""

import asyncio
from dataclasses import replace

import pytest

from planner.document import plan_id
from planner.errors import AuthError, HostError, Incomplete, NoCapacity, Refused
from planner.reconcile import StepKind
from provisioners.leases.journal import LeaseState
from tests.thunderctl.acted_machines import stubbed
from tests.thunderctl.rented_world import NAME, Durations, RentedWorld, cards, rented_world
from thunderctl.deploying.apply import StepState
from thunderctl.deploying.booting import LOST_S
from thunderctl.deploying.lifecycle import lineage, steps_to
from thunderctl.deploying.market import rentable
from thunderctl.fleet.resting import Rest, RestCause, Resting
from thunderctl.spec.spec import Spec


@pytest.fixture
def market(tmp_path):
    """Six cards at rising prices: the plan takes the first ones."""
    bundles = [ask | {"dph_base": 0.4 + ask["id"] / 100} for ask in cards(6)]
    with rented_world(tmp_path, bundles) as made:
        yield made


def up(world: RentedWorld, plan):
    """Bring it up; whatever came of it, the market bills for what the store knows, within the budget."""
    outcome = world.run(world.up(plan))
    assert world.billed() == world.costing()
    assert world.most_usd_per_hour <= plan.budget_usd_per_hour
    return outcome


def unharmed(_contract):
    """A machine that is as it was, though the connection to it broke."""


def planned(world: RentedWorld, machines: int = 2, slack: float = 1.5):
    return world.run(world.plan(machines, slack=slack))


def asks(world: RentedWorld) -> list[int]:
    return sorted(contract.ask["id"] for contract in world.market.contracts.values())


def steps(outcome, what: StepKind) -> dict[str, StepState]:
    return {result.step.id: result.state for result in outcome.results if result.step.what is what}


def test_machines_are_rented_awaited_prepared_and_served(market):
    plan = planned(market)
    outcome = up(market, plan)
    assert outcome.error is None
    assert outcome.plan == plan
    assert market.routed == [plan]
    assert {row.state for row in market.store.leases(NAME)} == {LeaseState.READY}
    assert "i0: booting: provisioning" in market.told
    assert any("silent: connection refused" in text for text in market.told)


@pytest.mark.parametrize("fault", ["taken", "broken", "success:false with id", "400 with id"])
def test_an_offer_that_gives_no_machine_is_replaced_by_the_next_best(market, fault):
    market.market.spoil("create", fault)
    plan = planned(market)
    outcome = up(market, plan)
    assert outcome.error is None
    assert asks(market) == [2, 3]
    assert market.routed == [outcome.plan]
    assert outcome.plan.amends == plan.plan_id
    assert outcome.plan.instance("i0").offer_id == next(one for one in asks_by_id(market) if one.startswith("3-"))
    assert market.store.deployment(NAME).plan_id == outcome.plan.plan_id
    assert lineage(market.run(aworld(market)), outcome.plan) == (outcome.plan.plan_id, plan.plan_id)


def asks_by_id(world: RentedWorld) -> list[str]:
    return [row.offer_id for row in world.store.leases(NAME) if row.state.may_cost]


async def aworld(world: RentedWorld):
    return world.world()


def test_a_machine_that_engines_cannot_run_on_is_released_and_replaced(market):
    market.unfit = {1}
    outcome = up(market, planned(market))
    assert outcome.error is None
    assert asks(market) == [2, 3]
    assert set(steps(outcome, StepKind.RELEASE).values()) == {StepState.DONE}
    gone = next(row for row in market.store.leases(NAME) if row.state is LeaseState.GONE)
    assert "driver 470.0" in gone.reason


def test_a_machine_of_no_use_is_not_taken_again_by_the_next_up_though_it_is_the_cheapest(market):
    market.unfit = {1}
    first = up(market, planned(market, machines=1, slack=2.0))
    assert asks(market) == [2]
    [contract] = market.market.contracts.values()
    contract.broken = True
    asked = len(market.market.asked)
    assert up(market, first.plan).error is None
    assert asks(market) == [3]
    creates = [path for method, path, _ in market.market.asked[asked:] if method == "PUT"]
    assert creates == ["/api/v0/asks/3/"]


def test_what_cannot_work_at_another_provider_is_no_substitute_though_it_is_the_cheapest(market, monkeypatch):
    """Engines of this host run in an environment that is not there."""
    monkeypatch.setenv("THUNDER_ENGINE_PYTHON", "/absent/python")

    async def with_one_here(site):
        offers = await rentable(site)
        return (replace(offers[0], offer_id="local-slot", provider="local", machine="", usd_per_hour=0.01), *offers)

    monkeypatch.setattr("thunderctl.deploying.deploy.rentable", with_one_here)
    market.unfit = {1}
    outcome = up(market, planned(market))
    assert outcome.error is None
    assert asks(market) == [2, 3]
    assert any(text.startswith("i0: takes no offer of local: ") and "/absent/python" in text for text in market.told)


def test_where_nothing_that_is_sold_can_work_it_is_said_why(market, monkeypatch):
    monkeypatch.setenv("THUNDER_ENGINE_PYTHON", "/absent/python")

    async def only_here(site):
        [offer, *_] = await rentable(site)
        return (replace(offer, offer_id="local-slot", provider="local", machine="", usd_per_hour=0.01),)

    monkeypatch.setattr("thunderctl.deploying.deploy.rentable", only_here)
    market.unfit = {1}
    outcome = up(market, planned(market))
    assert isinstance(outcome.error, Incomplete)
    assert "What local sells won't do: The engine environment" in str(outcome.error)


def test_a_machine_that_never_boots_is_released_when_its_time_is_over(market):
    market.market.spoil("create", "stuck")
    outcome = up(market, planned(market))
    assert outcome.error is None
    assert asks(market) == [2, 3]
    assert any("stuck" in text or "did not answer" in text for text in market.told)


@pytest.mark.parametrize(("fault", "taken"), [("ports late", [1, 2]), ("ports never", [2, 3]), ("only ssh", [2, 3])])
def test_a_machine_into_which_no_port_leads_is_not_prepared_and_replaced_once_its_time_is_over(market, fault, taken):
    market.market.spoil("create", fault)
    outcome = up(market, planned(market))
    assert outcome.error is None
    assert asks(market) == taken
    assert "i0: booting: running, its port 8443 is not mapped" in market.told
    assert market.told.count("i0: installs the engine") == 1


def fall_silent(world: RentedWorld) -> None:
    """No way leads from here onto any machine any more, nor to its agent; whether they serve nobody here knows."""
    world.durations = Durations(sshd_s=float("inf"))
    world._prepared.clear()


def test_machines_that_were_ready_and_fell_silent_are_named_and_kept(market):
    plan = planned(market)
    assert up(market, plan).error is None
    fall_silent(market)
    began = market.now()
    outcome = up(market, plan)
    assert market.now() - began < LOST_S + 60, "it is known long before a machine that boots would be given up"
    assert "i0: was ready, and is looked for: running, and silent: connection refused" in market.told
    assert isinstance(outcome.error, Incomplete)
    assert "i0 (vast 5000001) was ready, and is silent" in str(outcome.error)
    assert (asks(market), outcome.plan) == ([1, 2], plan)
    assert {row.state for row in market.store.leases(NAME)} == {LeaseState.READY}


@pytest.mark.parametrize(("cut_off", "taken"), [(True, [1, 9]), (False, [1])], ids=["cut off", "only the new one"])
def test_a_new_machine_that_is_silent_is_no_judge_of_the_way_but_those_that_were_ready_are(market, cut_off, taken):
    whole, all_bundles = planned(market), market.market.bundles
    market.market.bundles = [ask for ask in all_bundles if ask["id"] == 1]
    assert isinstance(up(market, whole).error, Incomplete)
    market.market.bundles += cards(1, first=9)
    prepared = dict(market._prepared)
    fall_silent(market)
    if not cut_off:
        market._prepared = prepared
    assert isinstance(up(market, whole).error, Incomplete)
    assert asks(market) == taken


@pytest.mark.parametrize("fault", ["empty", "410"])
def test_time_in_which_a_listing_says_nothing_counts_against_no_machine(market, fault):
    market.durations = Durations(sshd_s=1300.0)  # by itself more than it has
    market.market.spoil("list", *[fault] * 120)
    outcome = up(market, planned(market))
    assert outcome.error is None
    assert asks(market) == [1, 2]


def test_where_nothing_can_be_told_of_a_machine_for_all_its_time_it_is_kept_and_that_is_said(market):
    market.market.spoil("list", *["empty"] * 400)
    outcome = up(market, planned(market))
    assert isinstance(outcome.error, Incomplete)
    assert "without judging it: the listing is empty while" in str(outcome.error)
    assert asks(market) == [1, 2]


@pytest.mark.parametrize(("others", "taken"), [(True, [2, 3]), (False, [1, 2])], ids=["others", "no others"])
def test_an_offer_that_got_dearer_gives_way_to_the_next_best_which_may_be_itself(market, others, taken):
    plan = planned(market)
    asked = market.market.bundles
    asked[:] = [ask | {"dph_base": 0.6} if ask["id"] == 1 else ask for ask in asked if others or ask["id"] < 3]
    outcome = up(market, plan)
    assert outcome.error is None
    assert asks(market) == taken
    assert "now costs" in outcome.plan.notes[-1]


def test_a_line_that_breaks_in_the_middle_is_no_reason_to_give_a_machine_up(market):
    market.breaks = [unharmed]
    outcome = up(market, planned(market))
    assert outcome.error is None
    assert asks(market) == [1, 2]


def test_a_machine_that_is_lost_while_it_is_prepared_is_replaced(market):
    market.breaks = [lambda contract: setattr(contract, "broken", True)]
    outcome = up(market, planned(market))
    assert outcome.error is None
    assert asks(market)[1] == 3


def test_a_machine_that_goes_on_failing_stays_and_the_next_up_goes_on_there(market):
    market.breaks = [unharmed] * 4
    plan = planned(market)
    outcome = up(market, plan)
    assert isinstance(outcome.error, HostError)
    assert market.routed == []
    assert asks(market) == [1, 2]
    assert up(market, plan).error is None
    assert asks(market) == [1, 2]


def test_a_create_whose_answer_was_lost_is_found_and_not_made_again(market):
    market.market.spoil("create", "dropped after", "504 after")
    outcome = up(market, planned(market))
    assert outcome.error is None
    assert asks(market) == [1, 2]
    assert not outcome.plan.amends


def test_a_create_that_was_lost_on_its_way_is_asked_for_again_once_that_is_proven(market):
    market.market.spoil("create", "dropped before")
    outcome = up(market, planned(market))
    assert outcome.error is None
    assert asks(market) == [1, 2]
    assert sorted(row.state for row in market.store.leases(NAME)) == ["lost", "ready", "ready"]


def test_a_provider_that_wants_a_pause_gets_it(market):
    market.market.spoil("create", "429", "429")
    outcome = up(market, planned(market))
    assert outcome.error is None
    assert asks(market) == [1, 2]


def test_with_no_room_in_the_budget_the_substitute_waits_until_the_first_machine_is_proven_gone(market):
    market.unfit = {1}
    flat = [ask | {"dph_base": 0.4} for ask in market.market.bundles]
    market.market.bundles[:] = flat
    outcome = up(market, planned(market, slack=1.0))
    assert outcome.error is None
    assert asks(market) == [2, 3]
    assert "i0: waits for room in the budget" in market.told


def test_tries_are_bounded_and_what_stands_serves(market):
    market.unfit = {1, 3, 4, 5}
    outcome = up(market, planned(market, slack=3.0))
    assert isinstance(outcome.error, Incomplete)
    assert "replaced 3 times" in str(outcome.error)
    assert outcome.missing == ("r0",)
    assert asks(market) == [2]
    [routed] = market.routed
    assert [replica.id for replica in routed.replicas] == ["r1"]
    assert sum(route.share for route in routed.routes) == pytest.approx(1)


def test_without_a_substitute_it_serves_with_the_rest_and_the_next_up_tries_again(market):
    whole = planned(market)
    market.market.bundles[:] = [ask for ask in market.market.bundles if ask["id"] == 2]
    outcome = up(market, whole)
    assert isinstance(outcome.error, Incomplete)
    assert "1 of 2 replicas, without r0" in str(outcome.error)
    assert steps(outcome, StepKind.ROUTE) == {"routes": StepState.DONE}
    assert market.store.deployment(NAME).plan_id == whole.plan_id, "all of it is wanted still"

    market.market.bundles += cards(1, first=9)
    again = up(market, whole)
    assert again.error is None
    assert set(steps(again, StepKind.LEASE)) == {"i0"}
    assert asks(market) == [2, 9]
    assert market.routed[-1] == again.plan


def test_an_engine_that_fails_leaves_its_machine_and_the_others_serving(market):
    market.engines_fail = {1}
    outcome = up(market, planned(market))
    assert isinstance(outcome.error, Incomplete)
    assert "ended before it was ready" in str(outcome.error)
    assert asks(market) == [1, 2]
    assert [replica.id for replica in market.routed[-1].replicas] == ["r1"]


def test_where_nothing_stands_nothing_is_served_and_the_reason_is_the_first_one(market):
    whole = planned(market)
    market.market.bundles.clear()
    outcome = up(market, whole)
    assert isinstance(outcome.error, NoCapacity)
    assert market.routed == []
    assert market.billed() == set()


def elsewhere(world: RentedWorld, plan, budget_usd_per_hour: float):
    """A plan of the same names on the machines that are the first ones now."""
    drawn = replace(planned(world), plan_id="", budget_usd_per_hour=budget_usd_per_hour)
    assert [one.id for one in drawn.replicas] == [one.id for one in plan.replicas]
    return replace(drawn, plan_id=plan_id(drawn))


def test_another_plan_serves_on_its_own_machines_before_anything_of_the_first_one_ends(market):
    first = planned(market)
    up(market, first)
    other = elsewhere(market, first, 10.0)
    market.results.clear()
    outcome = up(market, other)
    assert outcome.error is None
    events = [(result.step.what, result.state) for result in market.results]
    served = events.index((StepKind.ROUTE, StepState.DONE))
    ended = [n for n, (what, _) in enumerate(events) if what in (StepKind.DRAIN, StepKind.STOP, StepKind.RELEASE)]
    assert served < min(ended)
    assert asks(market) == [3, 4]
    assert market.routed == [first, other]
    assert [step.what for step in left_to_do(market, other)] == [StepKind.ROUTE]  # routes are acted: none is in force


def left_to_do(world: RentedWorld, plan):
    async def left():
        with stubbed(world):
            return await steps_to(world.world(), plan, Spec())

    return world.run(left())


def test_a_plan_that_the_budget_does_not_hold_beside_what_runs_is_refused_before_anything_is_done(market):
    first = planned(market)
    up(market, first)
    other = elsewhere(market, first, first.budget_usd_per_hour)
    market.results.clear()
    with pytest.raises(
        Refused, match=r"What runs costs 0\.8[0-9]* \$/h until 0\.9[0-9]* \$/h of new machines"
    ) as caught:
        up(market, other)
    assert "thunderctl down" in caught.value.hint
    assert market.results == []
    assert asks(market) == [1, 2]
    assert [step.what for step in left_to_do(market, first)] == [StepKind.ROUTE]


def test_refused_credentials_stop_everything_and_nothing_is_made(market):
    plan = planned(market)
    market.api_key = "somebody else's"
    outcome = up(market, plan)
    assert isinstance(outcome.error, AuthError)
    assert {result.state for result in outcome.results} == {StepState.FAILED, StepState.SKIPPED}
    assert market.billed() == set()


def test_leases_end_when_their_up_said(market):
    up(market, planned(market))
    ends = [row.expires_at - row.created_at for row in market.store.leases(NAME)]
    assert ends == [pytest.approx(3600.0, abs=5.0)] * 2


def test_empty_listings_are_no_ground_to_ask_again(market):
    """Creates whose answers are lost and that make machines all the same, beside a listing that shows none."""
    plan = planned(market, 1, slack=1.5)
    market.market.spoil("create", *["504 after"] * 12)
    market.market.spoil("list", *["empty"] * 4000)
    for _ in range(3):
        outcome = market.run(market.up(plan))
        assert isinstance(outcome.error, (Incomplete, Refused))
    assert "leases --forget" in outcome.error.hint
    assert len(market.market.contracts) == 1
    assert market.most_usd_per_hour <= plan.budget_usd_per_hour


@pytest.mark.parametrize("after_s", [1, 20, 150, 420, 560])
def test_cut_off_at_any_time_the_next_up_goes_on_with_the_same_machines(market, after_s):
    market.unfit = {1}
    plan = planned(market)

    async def cut_off():
        async with asyncio.timeout(after_s):
            await market.up(plan)

    with pytest.raises(TimeoutError):
        market.run(cut_off())
    before = {number for number, contract in market.market.contracts.items() if contract.ask["id"] > 1}
    outcome = up(market, market.run(in_force(market)))
    assert outcome.error is None
    assert before <= market.market.contracts.keys()
    assert asks(market) == [2, 3]
    assert [result.step.what for result in up(market, outcome.plan).results] == [StepKind.ROUTE], "no router runs here"


def test_machines_that_run_another_versions_code_are_prepared_anew_one_after_the_other_and_nothing_is_leased(market):
    plan = planned(market)
    assert up(market, plan).error is None
    leased, market.code = asks(market), "v2"
    outcome = up(market, plan)
    assert outcome.error is None
    done = [
        (str(one.step.what), one.step.id) for one in market.results if one.step.again and one.state is StepState.DONE
    ]
    kinds = ("drain", "stop", "prepare", "start")
    assert done == [(kind, f"i{n}" if kind == "prepare" else f"r{n}") for n in range(2) for kind in kinds]
    assert set(market._runs.values()) == {"v2"}
    assert asks(market) == leased
    assert [result.step.what for result in up(market, plan).results] == [StepKind.ROUTE], "no router runs here"


def test_where_one_machine_can_not_be_prepared_anew_all_others_serve_on_as_they_were(market):
    plan = planned(market)
    assert up(market, plan).error is None
    market.code, market.unfit = "v2", {1}
    outcome = up(market, plan)
    assert outcome.missing == ("r0",)
    assert sorted(market._runs.values()) == ["v1", "v1"]
    assert asks(market) == [1, 2], "nothing is released, and nothing leased in its place"
    assert market.routed[-1].replicas[0].id == "r1"


def test_an_up_that_died_after_it_stopped_an_engine_is_gone_on_with_by_preparing_first(market):
    plan = planned(market, machines=1, slack=2.0)
    up(market, plan)
    market.code = "v2"
    market._engines.clear()
    kinds = [result.step.what for result in up(market, plan).results]
    assert kinds == [StepKind.PREPARE, StepKind.START, StepKind.ROUTE]


async def in_force(world: RentedWorld):
    from thunderctl.deploying.lifecycle import plan_in_force

    found = plan_in_force(world.world())
    assert found is not None
    return found


def test_many_machines_take_little_longer_than_one_and_the_providers_limit(tmp_path):
    """`benchmarks/up.py` does it with forty."""
    seconds = {}
    for count in (1, 8):
        folder = tmp_path / str(count)
        folder.mkdir()
        with rented_world(folder, cards(count), Durations()) as world:
            plan = planned(world, count)
            began = world.now()
            assert up(world, plan).error is None
            seconds[count] = world.now() - began
    assert seconds[8] <= 1.5 * seconds[1] + 8 * 4.5


def test_what_rests_is_left_out_and_leased_when_it_is_wanted_again(market):
    plan = planned(market)
    one = plan.instance("i1")
    resting = Resting({"i1": Rest(one.offer_id, RestCause.WINDOW, "a smaller budget", 0.0)})
    small = market.run(market.up(plan, resting))
    assert small.error is None
    assert [row.instance for row in market.store.leases(NAME) if row.state.may_cost] == ["i0"]
    assert [{replica.id for replica in routed.replicas} for routed in market.routed] == [{plan.replicas[0].id}]
    assert Resting.from_json(market.store.deployment(NAME).resting) == resting
    assert market.store.deployment(NAME).plan_id == plan.plan_id
    whole = up(market, plan)
    assert whole.error is None
    assert {row.instance for row in market.store.leases(NAME) if row.state.may_cost} == {"i0", "i1"}
    assert market.routed[-1] == plan
    assert market.store.deployment(NAME).resting == {}
