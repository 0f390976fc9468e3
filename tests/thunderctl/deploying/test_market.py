"""Substitutes come from providers that can be rented from; who can't be is said."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.planner.plans import split_plan
from thunderctl.deploying.market import rentable
from thunderctl.spec.spec import Spec


class Provider:
    """Has nothing to sell, and notes that it was asked."""

    def __init__(self, name: str, asked: list[str]) -> None:
        self.name, self.asked = name, asked

    async def offers(self):
        self.asked.append(self.name)
        return ()


@pytest.mark.parametrize(
    ("key", "asked"), [("", ["local"]), ("key", ["local", "vast"])], ids=["without a key", "with one"]
)
async def test_a_provider_is_asked_only_where_there_is_an_account_to_rent_with(monkeypatch, key, asked):
    monkeypatch.setenv("VAST_API_KEY", key)
    found, told = [], []
    plan = split_plan()
    site = SimpleNamespace(
        world=SimpleNamespace(provisioner=lambda name: Provider(name, found)),
        plan=replace(plan, instances=tuple(replace(one, provider="local") for one in plan.instances)),
        spec=Spec.model_validate({"markets": {"providers": ["local", "vast"]}}),
        narrate=lambda subject, text: told.append(f"{subject}: {text}"),
    )
    assert await rentable(site) == ()
    assert found == asked
    assert any("vast: no offers: VAST_API_KEY is not set" in text for text in told) is not bool(key)
