import pytest

from planner.simulation.usage import MOST_BUCKETS, Usage


def test_what_lasts_over_several_buckets_is_shared_among_them():
    usage = Usage(10.0)
    usage.add(5.0, 28.0, 100.0)
    usage.add(28.0, 30.0, 50.0, busy=False)
    assert usage.busy_s == [5.0, 10.0, 8.0, 0.0]
    assert usage.kv_token_s == [500.0, 1000.0, 800.0 + 100.0, 0.0]


@pytest.mark.parametrize("bucket_s", [1.0, 2e-310])
def test_buckets_that_are_too_many_become_longer(bucket_s):
    usage = Usage(bucket_s)
    usage.add(0.0, 1.0, 1.0)
    usage.add(1.0, 3.0 * MOST_BUCKETS, 1.0)
    assert len(usage.busy_s) <= MOST_BUCKETS
    assert sum(usage.busy_s) == pytest.approx(3.0 * MOST_BUCKETS)
    assert usage.bucket_s * MOST_BUCKETS > 3.0 * MOST_BUCKETS
