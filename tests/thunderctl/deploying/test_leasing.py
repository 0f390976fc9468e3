"""What is said of an instance when it is rented, and what a provider's no means for it."""

from collections import Counter
from types import SimpleNamespace

import pytest

from planner.errors import AuthError, NoCapacity
from tests.planner.plans import split_plan
from thunderctl.deploying import leasing
from thunderctl.deploying.leasing import group_of, lease
from thunderctl.deploying.turns import Throughout


@pytest.mark.parametrize(("instance", "group"), [("i0", ""), ("i1", "r2"), ("i2", "r2")])
def test_only_the_instances_of_a_replica_that_spans_several_are_grouped(instance, group):
    assert group_of(split_plan(), instance) == group


@pytest.mark.parametrize(("replaced", "error"), [(0, AuthError), (1, NoCapacity)], ids=["as planned", "a substitute"])
async def test_credentials_that_are_refused_stop_all_but_for_a_substitute(monkeypatch, replaced, error):
    async def refused(_site, _instance_id):
        raise AuthError("No such key.")

    monkeypatch.setattr(leasing, "_asked", refused)
    site = SimpleNamespace(
        clock=lambda: 0.0, pace=SimpleNamespace(poll_s=1.0), replaced=Counter(i0=replaced), turn=Throughout()
    )
    with pytest.raises(error, match="No such key"):
        await lease(site, SimpleNamespace(under_way=False), "i0")
