"""The gate before every create."""

from dataclasses import replace
from math import inf, nan

import pytest

from planner.errors import Refused
from provisioners.leases.budget import check_price, gate
from tests.provisioners.fakes import lease


def test_a_quote_that_fills_the_budget_passes_and_one_more_cent_does_not():
    gate([], 5.0, 5.0)
    with pytest.raises(Refused, match=r"makes 5\.01 \$/h; the budget is 5"):
        gate([], 5.01, 5.0)


@pytest.mark.parametrize(("quote", "budget"), [(1000.0, nan), (nan, 5.0), (inf, 5.0), (nan, nan)])
def test_a_figure_that_is_no_number_never_opens_the_gate(quote, budget):
    with pytest.raises(Refused):
        gate([], quote, budget)


async def test_a_lease_of_unknown_price_closes_the_gate(journal, cloud):
    row = await lease(journal, cloud)
    with pytest.raises(Refused):
        gate([replace(row, live_usd_per_hour=nan)], 0.1, 5.0)


@pytest.mark.parametrize(("quoted", "fresh"), [(1.0, nan), (nan, 1.0), (1.0, 1.2)])
def test_a_price_that_rose_or_is_no_number_is_refused(quoted, fresh):
    with pytest.raises(Refused, match="the plan counted on"):
        check_price(quoted, fresh, 0.1)
