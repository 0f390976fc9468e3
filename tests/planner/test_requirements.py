"""An offer that states too little of anything is refused, with numbers; what it does not state is taken on trust."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.gpus import gpu_types
from planner.models import llm_named
from planner.requirements import (
    Lack,
    disk_need_gb,
    fitness,
    ram_need_gb,
    refusal_of,
    refusals_in_words,
    trust_in_words,
    unstated,
)

QWEN, FP8, AWQ = (llm_named("qwen3-8b", dtype) for dtype in ("bfloat16", "fp8", "awq"))
HALF = llm_named("qwen3-8b", "float16")


def lack(llm, offer):
    found = refusal_of(llm, offer)
    return found.lack if found else None


def test_an_offer_that_says_nothing_of_itself_is_taken_and_what_it_leaves_open_is_named(offer):
    assert lack(QWEN, offer("a")) is None
    assert unstated(offer("a")) == ("disk", "driver", "RAM")
    assert unstated(offer("a", disk_gb=100.0, cuda_version=13.0, ram_gb=64.0)) == ()
    assert unstated(offer("a", driver_version=580.0)) == ("disk", "RAM")
    assert trust_in_words([offer("a"), offer("b", disk_gb=99.0)]) == (
        "Unstated, and taken to be enough: the disk of 1, the driver of 2, the RAM of 2 of 2 offers."
    )
    assert trust_in_words([offer("a", disk_gb=100.0, cuda_version=13.0, ram_gb=64.0)]) == ""


def test_the_disk_must_hold_weights_and_environment(offer):
    need = disk_need_gb(QWEN, offer("a").gpu)
    assert need > QWEN.weight_bytes / 1e9
    assert lack(QWEN, offer("a", disk_gb=need - 0.1)) is Lack.DISK
    assert lack(QWEN, offer("a", disk_gb=need)) is None
    assert disk_need_gb(AWQ, offer("a").gpu) < need


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"cuda_version": 12.4}, Lack.DRIVER),
        ({"cuda_version": 13.0}, None),
        ({"driver_version": 535.129}, Lack.DRIVER),
        ({"driver_version": 580.65}, None),
        ({"ram_gb": 8.0}, Lack.RAM),
        ({"ram_gb": 16.0}, None),
        ({"ram_gb": 16.0, "gpu_count": 8}, Lack.RAM),
    ],
)
def test_driver_and_memory_of_the_host_must_do(offer, stated, expected):
    assert lack(QWEN, offer("a", **stated)) is expected


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"inet_down_gbit_per_s": 0.03}, Lack.LINE),
        ({"inet_down_gbit_per_s": 0.05}, None),
        ({"inet_down_gbit_per_s": 0.03, "estimated": ("inet_down_gbit_per_s",)}, Lack.LINE),
        ({"inet_down_gbit_per_s": 0.03, "provider": "ssh"}, None),
        ({"inet_down_gbit_per_s": 0.03, "provider": "local"}, None),
    ],
)
def test_weights_and_environment_must_come_in_within_two_hours_where_that_costs(offer, stated, expected):
    assert lack(QWEN, offer("a", **stated)) is expected


def test_a_line_that_a_provider_says_nothing_of_is_taken_to_do(offer):
    large = llm_named("opt-175b")
    unstated_line = {"inet_down_gbit_per_s": 0.5, "estimated": ("inet_down_gbit_per_s",)}
    assert lack(replace(large, layers=2 * large.layers), offer("a", **unstated_line)) is None
    slow = refusal_of(replace(large, layers=2 * large.layers), offer("a", inet_down_gbit_per_s=0.5))
    assert slow is not None
    assert slow.reason.endswith(" h over its 500 Mbit/s; expected 2 h or less")


@pytest.mark.parametrize(
    ("gpu", "llm", "expected"),
    [
        ("T4", QWEN, Lack.DTYPE),
        ("T4", HALF, None),
        ("T4", AWQ, None),
        ("V100", HALF, Lack.CARD),
        ("V100", QWEN, Lack.CARD),
        ("A100", FP8, Lack.DTYPE),
        ("A6000", FP8, Lack.DTYPE),
        ("L4", FP8, None),
        ("H100", FP8, None),
        ("RTX5090", FP8, None),
        ("T4", llm_named("gpt-oss-20b"), Lack.DTYPE),
        ("A6000", llm_named("gpt-oss-20b"), None),
    ],
)
def test_a_card_must_compute_what_the_weights_are_stored_in(offer, gpu, llm, expected):
    assert lack(llm, offer("a", gpu)) is expected


def test_a_processor_needs_no_driver_and_has_its_environment(offer):
    cpu = offer("a", "CPU", provider="local", disk_gb=1.0, cuda_version=9.0, ram_gb=4.0)
    assert lack(llm_named("tiny-llama"), cpu) is None
    assert "driver" not in unstated(cpu)


def test_offers_are_divided_and_the_reasons_counted_most_first(offer):
    small = [offer(f"small-{i}", disk_gb=10.0) for i in range(2)]
    found = fitness(QWEN, [offer("good"), *small, offer("old", "V100")])
    assert [one.offer_id for one in found.fit] == ["good"]
    assert found.refused_in_words == "2 too little disk, 1 too old a card"
    assert "small-0: 10 GB of disk; weights and environment take 33." in refusals_in_words(found.refused)
    assert "old: V100-SXM2-16GB has compute capability 7.0; vLLM needs 7.5." in refusals_in_words(found.refused)


def test_memory_of_the_host_goes_by_workers_not_by_weights():
    assert ram_need_gb(8) > ram_need_gb(1)


STATED = st.fixed_dictionaries(
    {
        "disk_gb": st.floats(0, 200),
        "ram_gb": st.floats(0, 64),
        "cuda_version": st.sampled_from([0.0, 12.4, 12.9, 13.0]),
        "gpu_count": st.sampled_from([1, 2, 4, 8]),
    }
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(sorted(gpu_types())), STATED), max_size=8), st.sampled_from([QWEN, FP8, AWQ]))
def test_every_offer_is_fit_or_refused_with_a_reason_and_more_of_everything_never_hurts(offer, wanted, llm):
    offers = [offer(f"o{i}", gpu, **stated) for i, (gpu, stated) in enumerate(wanted)]
    found = fitness(llm, offers)
    assert {*found.fit, *(refusal.offer for refusal in found.refused)} == set(offers)
    assert len(found.fit) + len(found.refused) == len(offers)
    assert all(refusal.reason for refusal in found.refused)
    ample = [replace(one, disk_gb=1e4, ram_gb=1e4, cuda_version=99.0) for one in found.fit]
    assert fitness(llm, ample).refused == ()
