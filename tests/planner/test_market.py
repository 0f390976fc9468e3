import pytest

from planner.errors import SpecError
from planner.market import Interruptible, Market, eligible, offers_from_csv, snapshot

HEADER = "provider,gpu,gpu_count,usd_per_hour,offer_id,region,interruptible,reliability,egress_usd_per_gb,nvlink\n"
ELSEWHERE = (
    "provider,market,instance_type,region,zone,gpu,gpu_mem_gb,gpu_count,intra_node,net_gbps_baseline,price_usd_hr,flags\n"
    "aws,spot,g5.12xlarge,us-east-1,use1-az1,A10G,24,4,pcie,40.0,2.78,\n"
    "vast,on_demand,x,Texas,,RTX4090,48,1,none,,0.4,modded_48GB_4090\n"
    "vast,on_demand,x,Texas,,RTX3080,10,1,none,,0.1,\n"
    "lambda,on_demand,y,,,A100-80GB,80,8,nvswitch,,12.0,old\n"
    "lambda,on_demand,y,,,A100-SXM4-80GB,80,8,nvswitch,,12.0,\n"
)


def test_the_snapshot_has_real_variety():
    market = snapshot()
    assert (market.source, market.as_of[:4]) == ("snapshot", "2026")
    assert 140 <= len(market.offers) <= 180
    assert {offer.provider for offer in market.offers} == {"vast", "aws", "runpod", "lambda"}
    assert {"A4000", "A40", "A6000", "A100-SXM4-80GB", "H200-SXM-141GB"} <= {offer.gpu.name for offer in market.offers}
    assert {1, 2, 4, 8} <= {offer.gpu_count for offer in market.offers}
    assert len({offer.offer_id for offer in market.offers}) == len(market.offers)
    assert all(offer.usd_per_hour > 0 for offer in market.offers)


def test_only_what_can_be_rented_is_leasable():
    assert {offer.leasable for offer in snapshot().offers} == {False}
    columns = "provider,gpu,gpu_count,usd_per_hour,offer_id"
    text = f"{columns}\nvast,A40,1,0.4,123-90gb\nvast,A40,1,0.4,\nlambda,A40,1,0.4,a40\n"
    assert [offer.leasable for offer in offers_from_csv(text, "mine")] == [True, False, False]


def test_figures_that_a_source_leaves_out_are_named():
    offers = {offer.offer_id: offer for offer in snapshot().offers}
    assert "egress_usd_per_gb" in offers["vast-2xA40-on-demand"].estimated
    aws = offers["aws-g5.12xlarge-us-east-1"]
    assert (aws.inet_up_gbit_per_s, aws.egress_usd_per_gb) == (40.0, 0.09)
    assert aws.estimated == ("egress_usd_per_gb", "ingress_usd_per_gb")


def test_a_spec_narrows_the_market(offer):
    market = Market(
        (
            offer("a", region="Texas, US", reliability=0.9),
            offer("b", provider="aws", interruptible=True),
            offer("c", region="Texas, US", reliability=0.99),
        ),
        "2026-09-01T00:00:00Z",
        "live",
    )

    def names(**wanted: object) -> list[str]:
        return [found.offer_id for found in eligible(market, **wanted).offers]  # type: ignore[arg-type]

    assert names() == ["a", "b", "c"]
    assert names(providers=["aws"]) == ["b"]
    assert names(interruptible=Interruptible.NEVER) == ["a", "c"]
    assert names(interruptible=Interruptible.ONLY) == ["b"]
    assert names(regions=["us"]) == ["a", "c"]
    assert names(min_reliability=0.95) == ["b", "c"]


def test_offers_are_read_from_our_own_columns():
    text = HEADER + "vast,RTX 3090,4,0.67,q1,Quebec,no,0.99,0.01,no\nacme,A40,2,1.2,,,yes,,,1\n"
    first, second = offers_from_csv(text, "o.csv")
    assert (first.offer_id, first.gpu.name, first.usd_per_hour, first.egress_usd_per_gb) == (
        "q1",
        "RTX3090",
        0.67,
        0.01,
    )
    assert (second.offer_id, second.interruptible, second.nvlink, second.leasable) == ("row-2", True, True, False)
    assert (second.reliability, second.egress_usd_per_gb) == (None, 0.05)


def test_offers_are_read_from_the_columns_of_the_price_collection():
    aws, modded, whole = offers_from_csv(ELSEWHERE, "o.csv")
    assert (aws.network, aws.interruptible, aws.inet_up_gbit_per_s) == ("use1-az1", True, 40.0)
    assert modded.memory_gib == pytest.approx(47.04)
    assert (whole.offer_id, whole.nvlink, whole.leasable) == ("row-5", True, False)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("vast,A40,none,1,,,,,,", "o.csv, line 2: gpu_count is 'none'"),
        ("vast,A40,1.5,1,,,,,,", "line 2: gpu_count is '1.5'; expected a whole number above 0"),
        ("vast,A40,1,-1,,,,,,", "line 2: usd_per_hour is '-1'; expected a number of 0 or more"),
        ("vast,B7,1,1,,,,,,", "line 2: GPU 'B7' is not known"),
        ("vast,A40,1,1,,,maybe,,,", "line 2: interruptible is 'maybe'; expected yes or no"),
        ("vast,A40,1,1,,,,97,,", "line 2: reliability is '97'; expected a part of 1, such as 0.97"),
    ],
)
def test_a_bad_offer_is_named_by_its_line(row, message):
    with pytest.raises(SpecError, match=message):
        offers_from_csv(HEADER + row + "\n", "o.csv")


def test_missing_columns_and_repeated_ids_are_errors():
    with pytest.raises(SpecError, match="have no column gpu_count, usd_per_hour; expected provider,gpu"):
        offers_from_csv("provider,gpu\nvast,A40\n", "o.csv")
    with pytest.raises(SpecError, match="offer_id 'q' twice"):
        offers_from_csv(HEADER + "vast,A40,1,1,q,,,,,\n" * 2, "o.csv")


def test_what_a_machine_has_beside_its_gpus_is_read_where_it_is_stated():
    header = "provider,gpu,gpu_count,usd_per_hour,disk_gb,ram_gb,cuda_version,driver_version\n"
    full, silent = offers_from_csv(header + "vast,A40,1,0.4,100,64,12.8,575.51.03\nvast,A40,1,0.4,,,,\n", "mine")
    assert (full.disk_gb, full.ram_gb, full.cuda_version, full.driver_version) == (100.0, 64.0, 12.8, 575.51)
    assert (silent.disk_gb, silent.ram_gb, silent.cuda_version, silent.driver_version) == (0.0, 0.0, 0.0, 0.0)
    with pytest.raises(SpecError, match="line 2: driver_version is 'new'"):
        offers_from_csv(header + "vast,A40,1,0.4,,,,new\n", "mine")


def test_memory_of_the_host_is_read_from_the_other_style_too():
    style = "provider,gpu,gpu_count,price_usd_hr,mem_gb\naws,A10G,1,1.0,16.0\n"
    assert offers_from_csv(style, "elsewhere")[0].ram_gb == 16.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("provider,gpu,gpu_count,usd_per_hour\nvast\n", "line 2: GPU '' is not known"),
        ("gpu,gpu_count,usd_per_hour,provider\nA40,1,1\n", "line 2: provider is empty"),
        ("provider,gpu,gpu_count,usd_per_hour,region\nvast,A40,1,1,Texas, US\n", "line 2: more values than the 5 col"),
        ("provider,gpu,gpu_count,usd_per_hour,inet_up_gbit_per_s\nvast,A40,1,1,0\n", "inet_up_gbit_per_s is '0'"),
        ("provider,gpu,gpu_count,usd_per_hour,inet_down_gbit_per_s\nvast,A40,1,1,0\n", "inet_down_gbit_per_s is '0'"),
        ("provider,gpu,gpu_count,usd_per_hour\nvast," + "x" * 200_000 + ",1,1\n", "not CSV: field larger"),
    ],
    ids=["short", "no provider", "unquoted comma", "no way out", "no way in", "huge"],
)
def test_a_file_of_offers_that_cannot_be_read_is_told_by_its_line(text, message):
    with pytest.raises(SpecError, match=message):
        offers_from_csv(text, "o.csv")


def test_commas_at_the_end_of_a_row_say_nothing():
    (found,) = offers_from_csv("provider,gpu,gpu_count,usd_per_hour\nvast,A40,1,1,,\n", "o.csv")
    assert found.usd_per_hour == 1.0
