"""What an offer of ours at Vast.ai is called: the ask, the disk that it is priced with, and whether it is a bid."""

import re
from dataclasses import dataclass
from typing import Self

WRITTEN = re.compile(r"(?P<number>\d+)(?:-(?P<disk>\d+(?:\.\d+)?)gb)?(?P<bid>-bid)?")


@dataclass(frozen=True, slots=True)
class AskId:
    """Reads and prints as `12345678-90gb`, or `12345678-90gb-bid`: so a quote is for what was planned with.

    `number` is Vast's, of the ask; 0 GB of disk stands for "as much as is wanted now".
    """

    number: int
    disk_gb: float = 0.0
    interruptible: bool = False

    def __str__(self) -> str:
        disk = f"-{self.disk_gb:g}gb" if self.disk_gb else ""
        return f"{self.number}{disk}{'-bid' if self.interruptible else ''}"

    @classmethod
    def parse(cls, offer_id: str) -> Self | None:
        """None where it is no offer of Vast's: from a snapshot, a file, or another provider."""
        found = WRITTEN.fullmatch(offer_id)
        return cls(int(found["number"]), float(found["disk"] or 0), bool(found["bid"])) if found else None
