"""What an offer of AWS is called: `aws:<region>:<zone>:<type>:<market>`."""

import re
from dataclasses import dataclass
from typing import Self

ON_DEMAND, SPOT = "on-demand", "spot"
PATTERN = re.compile(
    rf"aws:(?P<region>[a-z0-9-]+):(?P<zone>[a-z0-9-]+):(?P<type>[a-z0-9.-]+):(?P<market>{ON_DEMAND}|{SPOT})"
)


@dataclass(frozen=True, slots=True)
class OfferId:
    """A type in a zone, on demand or spot."""

    region: str
    zone: str
    type_name: str
    interruptible: bool

    def __str__(self) -> str:
        return f"aws:{self.region}:{self.zone}:{self.type_name}:{SPOT if self.interruptible else ON_DEMAND}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """None where it is no offer of ours, as those of the dated snapshot are not."""
        found = PATTERN.fullmatch(text)
        return cls(found["region"], found["zone"], found["type"], found["market"] == SPOT) if found else None
