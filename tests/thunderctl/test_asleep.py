"""What `up` says of a machine that may sleep."""

from dataclasses import replace

from provisioners.leases.journal import LeaseState
from tests.thunderctl.controller.situations import row
from thunderctl.asleep import while_asleep

LOCAL, OWN, RENTED = (replace(row("i0"), provider=provider) for provider in ("local", "ssh", "vast"))


def test_machines_that_bill_end_themselves_when_nobody_speaks_to_them():
    said = while_asleep([LOCAL, OWN, RENTED, RENTED], 7200.0)
    assert "nobody is answered" in said
    assert "What bills ($2.000 an hour) goes on billing, and ends itself when it has heard from nobody for 2 h" in said


def test_hosts_of_ones_own_wait():
    assert while_asleep([LOCAL, OWN], 7200.0).endswith("The hosts stay leased, and wait.")


def test_where_all_is_here_or_over_there_is_nothing_to_say():
    assert while_asleep([LOCAL, replace(RENTED, state=LeaseState.GONE)], 7200.0) == ""
