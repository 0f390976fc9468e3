"""What the controller thinks of the routes, as people read it."""

import pytest

from tests.thunderctl.tui import worlds
from thunderctl.status.adapting_words import thought_of


def said(**known):
    return thought_of(worlds.serving(controller={"state": "running", "adapting": worlds.adapting(**known)}))


@pytest.mark.parametrize("controller", [{}, {"state": "stopped"}, {"state": "running", "adapting": None}])
def test_nothing_is_said_before_it_looked(controller):
    assert thought_of(worlds.serving(controller=controller)) is None


def test_why_it_waits_with_something_better():
    found = said()
    assert found.waits
    assert found.text == (
        "83% would meet the SLO as it is, 94% over other routes (simulated). "
        "Not yet: the last change is too recent (3 min more); looked 12 s ago"
    )


def test_what_is_gained_may_be_too_little():
    found = said(predicted_best=0.84, gain=0.01, waits="", cooling_until=0.0)
    assert not found.waits
    assert "84% over other routes (simulated): too little to change them for" in found.text


def test_nothing_better_may_be_known():
    found = said(predicted_best=0.83, gain=0.0, waits="", cooling_until=0.0)
    assert found.text == "83% would meet the SLO as it is (simulated), and nothing better is known; looked 12 s ago"


def test_of_too_few_requests_nothing_is_said():
    found = said(predicted_now=None, predicted_best=None, gain=0.0, waits="", cooling_until=0.0)
    assert found.text == "too few requests to judge the routes by; looked 12 s ago"


def test_a_clock_that_was_set_back_is_no_negative_time():
    assert said(assessed_at=worlds.NOW + 50).text.endswith("looked 0 s ago")


def test_where_far_fewer_meet_the_slo_than_was_simulated_it_says_so_and_what_to_do():
    known = worlds.adapting(predicted_now=1.0, predicted_best=1.0, gain=0.0, waits="", cooling_until=0.0)
    status = worlds.serving(controller={"state": "running", "adapting": known})
    for met, doubted in ((0.0, True), (0.79, True), (0.81, False), (1.0, False), (None, False)):
        status["observed"]["slo_attainment"] = met
        assert ("the simulation is off here" in thought_of(status).text) is doubted, met
    status["observed"]["slo_attainment"] = 0.0
    assert thought_of(status).text == (
        "100% would meet the SLO as it is (simulated), and nothing better is known; looked 12 s ago. "
        "But 0% of the last minutes' requests did: the simulation is off here. "
        "`thunderctl doctor --calibrate` measures this host's CPUs; of others `thunderctl bench` says how far off it is"
    )
