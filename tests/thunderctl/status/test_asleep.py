"""What `up` says of a machine that may sleep."""

from dataclasses import replace

from provisioners.leases.journal import LeaseState
from tests.thunderctl.controller.situations import row
from thunderctl.status.asleep import while_asleep

LOCAL, OWN, RENTED = (replace(row("i0"), provider=provider) for provider in ("local", "ssh", "vast"))


def test_machines_that_bill_end_themselves_when_nobody_speaks_to_them():
    said = while_asleep([LOCAL, OWN, RENTED, RENTED], 7200.0)
    assert "nobody is answered" in said
    assert "What bills ($2.000 an hour) goes on billing, and ends itself when it has heard from nobody for 2 h" in said


def test_hosts_of_ones_own_wait():
    assert while_asleep([LOCAL, OWN], 7200.0).endswith("The hosts stay leased, and wait.")


def test_where_all_is_here_or_over_there_is_nothing_to_say():
    assert while_asleep([LOCAL, replace(RENTED, state=LeaseState.GONE)], 7200.0) == ""


def test_of_a_controller_elsewhere_it_names_the_host_that_has_to_stay_awake():
    said = while_asleep([OWN], 7200.0, lives_on="office")
    assert said.startswith("Your own machine may sleep or be off: the controller is on office.")
    assert "While office sleeps or is off, nobody is answered" in said


def test_a_router_elsewhere_goes_on_answering_and_keeps_machines_alive():
    said = while_asleep([RENTED], 7200.0, place="ssh:lab1")
    assert "While this machine sleeps or is off, the router on lab1 goes on answering" in said
    assert "heard from neither router nor controller for 2 h" in said
