"""How much of the time an offer is expected to be up."""

from math import inf, nan

import pytest

from planner.catalog import INTERRUPTIBLE_AVAILABILITY


@pytest.mark.parametrize(
    ("wanted", "availability"),
    [
        ({}, 1.0),
        ({"reliability": 0.9}, 1.0),
        ({"interruptible": True}, INTERRUPTIBLE_AVAILABILITY),
        ({"interruptible": True, "reliability": 0.99}, INTERRUPTIBLE_AVAILABILITY),
        ({"interruptible": True, "reliability": 0.9}, 0.9),
        ({"interruptible": True, "reliability": 0.0}, 0.0),
    ],
)
def test_only_what_can_be_taken_back_is_down_at_times(offer, wanted, availability):
    assert offer("o", **wanted).availability == availability


@pytest.mark.parametrize("price", [-0.1, nan, inf])
def test_an_offer_has_a_price(offer, price):
    with pytest.raises(ValueError, match="expected 0 or more, and finite"):
        offer("o", usd_per_hour=price)
