"""A machine's volume: large enough for what it is to hold, and as fast as its weights have to come in and be read.

A gp3 volume reads and writes 125 MiB/s unless more is paid for: less than the machines' lines, and 18 minutes for the
weights of a 70B model, each time that an engine starts.
"""

from dataclasses import dataclass
from math import ceil

READ_S = 300.0
"""In which all that is to be on the volume beside the image can be read."""
USUAL_MIB_PER_S, MOST_MIB_PER_S = 125, 1000
USUAL_IOPS, IOPS_PER_MIB_PER_S = 3000, 4
MIB_PER_S_AS_GB, IOPS_AS_GB = 0.5, 0.0625
"""What one more costs, in the monthly prices of a GB: $0.04 and $0.005 where that is $0.08; in all regions alike."""


@dataclass(frozen=True, slots=True)
class Volume:
    """What EC2 is asked for. `iops` are what the throughput needs."""

    size_gb: int
    mib_per_s: int
    iops: int

    @classmethod
    def of(cls, disk_gb: float, image_gb: float) -> "Volume":
        """For `disk_gb` beside the image's own."""
        mib_per_s = min(MOST_MIB_PER_S, max(USUAL_MIB_PER_S, ceil(disk_gb * 1000 / READ_S)))
        return cls(ceil(image_gb + disk_gb), mib_per_s, max(USUAL_IOPS, IOPS_PER_MIB_PER_S * mib_per_s))

    def usd_per_month(self, usd_per_gb_month: float) -> float:
        """All in all, where storage costs this."""
        faster = MIB_PER_S_AS_GB * (self.mib_per_s - USUAL_MIB_PER_S) + IOPS_AS_GB * (self.iops - USUAL_IOPS)
        return (self.size_gb + faster) * usd_per_gb_month
