import math

import pytest

from planner.workload import Slo, Workload

LENGTHS = ((10, 10), (30, 50))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lengths": ()}, "has no requests"),
        ({"rate_rps": 0.0}, "has 0.0 requests/s"),
        ({"rate_rps": math.nan}, "has nan requests/s"),
        ({"burstiness": 0.0}, "has burstiness 0.0; expected 0.001 to 1000"),
        ({"burstiness": math.nan}, "has burstiness nan"),
        ({"prefix_hit_share": 1.0}, "has prefix hit share 1.0; expected at least 0 and below 1"),
        ({"prefix_hit_share": -0.1}, "has prefix hit share -0.1"),
    ],
)
def test_a_workload_that_cannot_be_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Workload(**{"name": "w", "lengths": LENGTHS} | wrong)


def test_a_workload_is_poisson_and_uncached_unless_it_says_otherwise():
    usual = Workload("w", LENGTHS)
    assert (usual.burstiness, usual.prefix_hit_share) == (1.0, 0.0)
    assert (usual.prompt_tokens_mean, usual.output_tokens_mean) == (20.0, 30.0)


def test_another_rate_leaves_the_rest_as_it_is():
    bursty = Workload("w", LENGTHS, 1.0, burstiness=0.5, prefix_hit_share=0.25)
    assert bursty.at(3.0) == Workload("w", LENGTHS, 3.0, burstiness=0.5, prefix_hit_share=0.25)


@pytest.mark.parametrize("wrong", [{"ttft_s": 0.0}, {"tpot_s": -1.0}, {"attainment": 0.0}, {"attainment": 1.1}])
def test_targets_that_nothing_can_meet_are_refused(wrong):
    with pytest.raises(ValueError, match="expected more than 0"):
        Slo(**wrong)


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("target", ["ttft_s", "tpot_s"])
def test_a_target_is_a_time(target, seconds):
    with pytest.raises(ValueError, match="expected more than 0, and finite"):
        Slo(**{target: seconds})
