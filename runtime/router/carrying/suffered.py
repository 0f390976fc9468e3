"""A replica that failed while it had a request, and what it shares with others that did."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from runtime.messages import ReplicaAddress


@dataclass(frozen=True, slots=True)
class Suffered:
    """A replica that failed while it had a request: when it was asked, and when it failed (s, the loop's clock)."""

    replica: ReplicaAddress
    asked_at: float
    failed_at: float

    @property
    def machine(self) -> tuple[str, str]:
        """What it shares with those behind the same agent; without one nothing is known to be shared."""
        name = self.replica.server_name
        return (name, urlsplit(self.replica.url).hostname or "") if name else ("", self.replica.id)

    def went_with(self, earlier: "Suffered") -> bool:
        """Whether both had the request when the earlier one failed, on one machine: it may have been that."""
        return self.machine == earlier.machine and self.asked_at <= earlier.failed_at
