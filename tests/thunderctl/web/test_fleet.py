"""What of a fleet the page shows: which machines serve nothing, and can be taken back."""

from tests.thunderctl.tui import worlds
from thunderctl.web.fleet import fleet_of


def test_a_machine_that_is_ready_and_has_no_replica_serves_nothing():
    found = worlds.serving()
    assert fleet_of(found).drained == frozenset()
    found["replicas"] = [one for one in found["replicas"] if "i2" not in one["instances"]]
    assert fleet_of(found).drained == {"i2"}
    assert fleet_of(found, only="us-tx").drained == {"i2"}, "whatever else is shown"
    found["instances"][2]["state"] = "draining"
    assert fleet_of(found).drained == frozenset()


def test_before_anything_is_routed_no_machine_is_idle():
    assert fleet_of(worlds.serving(replicas=[])).drained == frozenset()
