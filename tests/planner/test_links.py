from dataclasses import replace

import pytest

from planner.catalog import Link
from planner.deployment import Instance
from planner.errors import SpecError
from planner.links import INSIDE, check_links, link_between, links_from_csv

HERE = Instance("i0", "o0", "vast", "Texas, US", "A40", 1, 44.9, 0.4, inet_up_gbit_per_s=2.0, egress_usd_per_gb=0.03)
THERE = replace(HERE, id="i1", offer_id="o1", inet_down_gbit_per_s=0.5, ingress_usd_per_gb=0.01)
ZONE = replace(HERE, provider="aws", region="us-east-1", network="use1-az1", inet_up_gbit_per_s=400.0)
NEIGHBOUR = replace(ZONE, id="i1", inet_down_gbit_per_s=400.0)


def test_inside_an_instance_kv_moves_fast_and_free():
    assert link_between(HERE, HERE, {}) is INSIDE


def test_between_strangers_the_narrower_end_and_both_prices_count():
    link = link_between(HERE, THERE, {})
    assert (link.bandwidth_gbit_per_s, link.usd_per_gb, link.estimated) == (0.5, 0.04, True)


def test_a_private_network_is_free_and_no_faster_than_host_memory():
    link = link_between(ZONE, NEIGHBOUR, {})
    assert (link.bandwidth_gbit_per_s, link.usd_per_gb) == (INSIDE.bandwidth_gbit_per_s, 0.0)


def test_private_networks_that_two_providers_name_alike_are_two():
    other = replace(NEIGHBOUR, provider="vast", egress_usd_per_gb=0.03)
    link = link_between(ZONE, other, {})
    assert link.latency_ms > link_between(ZONE, NEIGHBOUR, {}).latency_ms
    assert link_between(other, ZONE, {}).usd_per_gb == 0.03


@pytest.mark.parametrize("change", [{"network": "use1-az2"}, {"network": "euc1-az1", "region": "eu-central-1"}])
def test_aws_bills_between_its_zones_and_regions(change):
    assert link_between(ZONE, replace(NEIGHBOUR, **change), {}).usd_per_gb == 0.02


def test_a_stated_link_is_believed_by_instance_or_offer():
    for key in (("i0", "i1"), ("o0", "o1")):
        link = link_between(HERE, THERE, {key: Link(40.0, 1.0)})
        assert (link.bandwidth_gbit_per_s, link.latency_ms, link.estimated) == (40.0, 1.0, False)
        assert link.usd_per_gb == 0.04


def test_links_are_read_from_csv():
    links = links_from_csv("from,to,bandwidth_gbit_per_s,latency_ms\na,b,40,0\nb,a, 5 ,12.5\n", "l.csv")
    assert links == {("a", "b"): Link(40.0, 0.0), ("b", "a"): Link(5.0, 12.5)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("from,to\na,b\n", "have no column bandwidth_gbit_per_s, latency_ms"),
        ("from,to,bandwidth_gbit_per_s,latency_ms\na,b,0,1\n", "line 2: bandwidth_gbit_per_s is '0'"),
        ("from,to,bandwidth_gbit_per_s,latency_ms\na,b,1,soon\n", "line 2: latency_ms is 'soon'"),
        ("from,to,bandwidth_gbit_per_s,latency_ms\na,b,1\n", "line 2: latency_ms is ''"),
        ("from,to,bandwidth_gbit_per_s,latency_ms\na,b,1,2,3\n", "line 2: more values than the 4 columns"),
        ("from,to,bandwidth_gbit_per_s,latency_ms\na,b,1,2\na,b,9,2\n", "line 3: the link from a to b is there twice"),
        ("from,to,bandwidth_gbit_per_s,latency_ms\n" + "a" * 200_000, "not CSV: field larger"),
    ],
)
def test_a_bad_link_is_named_by_its_line(text, message):
    with pytest.raises(SpecError, match=message):
        links_from_csv(text, "l.csv")


def test_ids_that_nothing_has_are_named():
    links = {("a", "b"): Link(1.0, 0.0), ("d", "c"): Link(1.0, 0.0)}
    check_links(links, ["a", "b", "c", "d", "e"])
    with pytest.raises(SpecError, match="Links name 'c', 'd'; expected ids of offers"):
        check_links(links, ["a", "b"])


def test_what_was_measured_between_instances_is_part_of_their_link():
    """The hand-over counts at the end that fetches; packing at the mean of both ends' times."""
    slow = replace(THERE, handover_ms=25.0, codec_gb_per_s=0.5)
    link, plain = link_between(HERE, slow, {}), link_between(HERE, THERE, {})
    assert link.latency_ms == pytest.approx(plain.latency_ms + 25.0)
    assert 1 / link.codec_gb_per_s == pytest.approx((1 / 0.5 + 1 / plain.codec_gb_per_s) / 2)
    assert link_between(slow, HERE, {}).latency_ms == plain.latency_ms
    stated = link_between(HERE, slow, {("i0", "i1"): Link(1.0, 3.0)})
    assert stated.latency_ms == 28.0


def test_a_row_that_ends_before_its_names_is_no_crash():
    links = links_from_csv("bandwidth_gbit_per_s,latency_ms,from,to\n1,1\n", "l.csv")
    with pytest.raises(SpecError, match="Links name ''"):
        check_links(links, ["a"])
