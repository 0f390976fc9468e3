"""How long a machine may take to be prepared: by what it has to fetch, its offer's line, and who pays meanwhile."""

from dataclasses import replace
from math import inf
from types import SimpleNamespace

import pytest

from planner.deployment import Plan
from provisioners.base import Machine
from tests.planner.plans import split_plan
from thunderctl.deploying import preparing
from thunderctl.deploying.preparing import longest_fetch_s, prepared
from thunderctl.spec.spec import Spec

SPEC = Spec.model_validate({"leases": {"ready_deadline_s": 100}})


def planned(repository: str = "Qwen/Qwen3-32B", **changed: object) -> Plan:
    plan = split_plan()
    instances = tuple(replace(one, **changed) for one in plan.instances)
    return replace(plan, llm=replace(plan.llm, repository=repository), instances=instances)


def test_the_slower_the_line_and_the_larger_the_model_the_longer_and_a_source_is_no_quicker_than_it_is():
    slow, usual, wide = (longest_fetch_s(planned(inet_down_gbit_per_s=g), SPEC, "i0") for g in (0.1, 0.5, 50.0))
    assert slow == pytest.approx(5 * usual)
    assert wide == usual
    plan = planned()
    larger = replace(plan, llm=replace(plan.llm, layers=2 * plan.llm.layers))
    assert longest_fetch_s(larger, SPEC, "i0") > longest_fetch_s(plan, SPEC, "i0") > 3 * 8 * 15 / 0.5


@pytest.mark.parametrize(
    "plan",
    [planned(provider="ssh"), planned(provider="local"), planned(repository="examples/tiny-llama")],
    ids=["one's own host", "this host", "a model that is sent from here"],
)
def test_where_nothing_is_paid_or_the_line_is_ours_there_is_no_limit_but_on_silence(plan):
    assert longest_fetch_s(plan, SPEC, "i0") == inf


async def test_what_the_spec_says_of_readiness_is_how_long_nothing_may_move(monkeypatch):
    given = {}

    async def prepare(_transport, _wanted, **limits):
        given.update(limits)
        raise KeyboardInterrupt  # enough was seen

    async def host_spec(*_):
        return None

    monkeypatch.setattr(preparing, "prepare", prepare)
    monkeypatch.setattr(preparing, "host_spec", host_spec)
    plan = planned()
    provisioner = SimpleNamespace(transport=lambda _machine: None)
    site = SimpleNamespace(plan=plan, spec=SPEC, world=SimpleNamespace(provisioner=lambda _: provisioner))
    row = SimpleNamespace(provider="vast", instance="i0")
    with pytest.raises(KeyboardInterrupt):
        await prepared(site, row, Machine("1", "label", "running", 1.0))
    assert given["still_s"] == 100
    assert given["most_s"] == 100 + longest_fetch_s(plan, SPEC, "i0")
