"""Why there is no plan: of the file, of memory, or of the SLO and what lies between instances."""

import re

import pytest

from planner.advice.infeasible import nothing_serves
from planner.catalog import Link
from planner.market import Market
from planner.models import llm_named
from planner.parallel.layouts import Capacities
from planner.plan import task_of
from planner.traces import workload_named
from planner.workload import Slo

LLAMA = Capacities(task_of(llm_named("llama-30b"), workload_named("conversation"), Slo(4.0, 0.15), 8192))
"""64 GiB: two A6000 hold it, one does not."""


def said(*offers, links=None, source="file"):
    return nothing_serves(LLAMA, Market(tuple(offers), "2026-09-01T00:00:00Z", source), links or {}).message


def first_token_s(message: str) -> float:
    found = re.search(r"a mean prompt takes ([0-9.]+) s", message)
    assert found is not None
    return float(found[1])


def test_an_empty_file_is_to_be_filled_and_an_empty_market_widened():
    hints = {source: nothing_serves(LLAMA, Market((), "", source), {}).hint for source in ("file", "snapshot")}
    assert hints == {"file": "Add rows to the file of offers.", "snapshot": "Allow more providers or regions."}


def test_weights_that_fit_instances_of_one_network_together_are_not_too_large(offer):
    message = said(offer("a", available=2, network="lan"))
    assert message.startswith("No instance on offer holds llama-30b, and several of one network do not serve")
    assert "within TTFT 4 s and TPOT 0.15 s for 90% of requests" in message


def test_how_slow_they_are_together_follows_the_stated_links(offer):
    pair = [offer(name, network="lan") for name in ("a", "b")]
    slow, fast = (
        first_token_s(said(*pair, links={ends: Link(gbit, 0.5) for ends in (("a", "b"), ("b", "a"))}))
        for gbit in (0.3, 10.0)
    )
    assert slow > fast + 0.2


@pytest.mark.parametrize(
    "wanted",
    [{}, {"network": "lan", "provider": "local"}, {"network": "lan", "machine": "m"}],
    ids=["no network", "one host", "one machine"],
)
def test_instances_that_no_replica_may_span_hold_only_what_one_does(offer, wanted):
    message = said(offer("a", **wanted), offer("b", **wanted))
    assert re.search(r"llama-30b needs 64 GiB .* is 1 x A6000, of which \d+ GiB can be used\.$", message)


def test_a_network_that_is_too_small_as_a_whole_is_measured_as_a_whole(offer):
    message = said(offer("a", "A5000", available=2, network="lan"))
    assert re.search(
        r"1 x A5000, of which 2\d GiB can be used, and 4\d GiB of one network's instances together", message
    )


def test_one_offer_is_an_offer(offer):
    assert "on none of the 1 offer with" in said(offer("a", disk_gb=10.0))
