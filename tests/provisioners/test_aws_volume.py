"""A volume is as fast as what is to be on it needs, within what gp3 has; and its price says so."""

import pytest

from provisioners.aws.volume import Volume


@pytest.mark.parametrize(
    ("disk_gb", "volume", "usd_per_month"),
    [
        (30.0, Volume(105, 125, 3000), 105 * 0.08),
        (90.0, Volume(165, 300, 3000), 165 * 0.08 + 175 * 0.04),
        (160.0, Volume(235, 534, 3000), 235 * 0.08 + 409 * 0.04),
        (800.0, Volume(875, 1000, 4000), 875 * 0.08 + 875 * 0.04 + 1000 * 0.005),
    ],
)
def test_the_larger_the_faster(disk_gb, volume, usd_per_month):
    assert Volume.of(disk_gb, 75.0) == volume
    assert volume.usd_per_month(0.08) == pytest.approx(usd_per_month)


def test_throughput_is_no_more_than_its_iops_allow():
    assert all(Volume.of(gb, 0.0).mib_per_s * 4 <= Volume.of(gb, 0.0).iops for gb in (1.0, 200.0, 250.0, 5000.0))
