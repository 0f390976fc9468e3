"""What somebody should know: machines that cost and serve nothing."""

from dataclasses import replace

import pytest

from provisioners.leases.journal import LeaseState
from tests.thunderctl.controller.situations import ALIVE, PLAN, REPLICAS, row, situation
from thunderctl.controller.alerts import alerts_of
from thunderctl.controller.situation import Routing
from thunderctl.store.values import DeploymentState

WITHOUT_R2 = replace(PLAN, replicas=tuple(one for one in PLAN.replicas if one.id != "r2"))
WITHOUT_I1 = replace(WITHOUT_R2, instances=tuple(one for one in PLAN.instances if one.id != "i1"))


def narrowed(plan, **known):
    left = [one.id for one in plan.replicas]
    conditions = dict.fromkeys(left, ALIVE)
    return situation(**{"routing": Routing(plan, frozenset(left)), "conditions": conditions, **known})


def test_a_machine_that_was_drained_and_is_leased_still_is_named_with_its_price_and_the_mend():
    drained, emptied = alerts_of(narrowed(WITHOUT_I1))
    assert drained.key == "unused l-i1"
    assert drained.text == (
        "i1 (vast m-i1, $1.000/h) is leased and serves nothing: the plan in force has no replica on it. "
        "`thunderctl undrain i1` gives it requests again, `thunderctl up` releases it."
    )
    assert emptied.text.endswith("an `up` with a plan that lacks it, or `thunderctl down`, releases it.")


@pytest.mark.parametrize(
    "known",
    [
        {"plan_id": "another"},
        {"state": DeploymentState.STARTING},
        {"routing": None},
        {"rows": (row("i0"), row("i1", LeaseState.CREATED), row("i2", LeaseState.SENT))},
    ],
    ids=lambda known: "-".join(known),
)
def test_what_a_command_is_still_at_work_on_is_not_called_unused(known):
    assert not [one for one in alerts_of(narrowed(WITHOUT_I1, **known)) if one.key.startswith("unused")]


def test_a_certificate_that_can_not_be_put_on_its_machine_is_an_alert_that_says_until_when():
    [alert] = alerts_of(situation(routing=Routing(PLAN, frozenset(REPLICAS)), unsent={"l-i1": 1_790_000_000.0}))
    assert alert.key == "unsent l-i1"
    assert "The certificate of i1 (vast m-i1) was renewed on 2026-09-21 and can't be put on its machine" in alert.text
    assert "thunderctl ssh i1" in alert.text


def test_a_router_that_died_and_serves_again_is_named_for_an_hour():
    now = situation(routing=Routing(PLAN, frozenset(REPLICAS)))
    died = replace(now, routing=replace(now.routing, deaths=(2, now.at - 10)))
    [alert] = alerts_of(died)
    assert alert.key == "router died 2"
    assert "requests that were under way ended with it. That was death 2" in alert.text
    assert alerts_of(replace(died, at=died.at + 3600)) == ()


def test_a_fleet_of_which_every_machine_is_used_has_no_such_alert():
    assert alerts_of(situation(routing=Routing(PLAN, frozenset(REPLICAS)))) == ()


def test_machines_that_go_are_named_but_not_those_of_a_down_that_is_at_work():
    going = situation(rows=(row("i0"), replace(row("i1", LeaseState.DELETING), reason="drained"), row("i2")))
    assert "deleting l-i1" in [one.key for one in alerts_of(going)]
    assert not [one for one in alerts_of(replace(going, state=DeploymentState.STOPPING)) if "deleting" in one.key]
