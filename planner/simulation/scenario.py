"""What is simulated: requests, servers and the lanes between them, epochs and failures. What comes out: time stamps."""

from dataclasses import dataclass

import numpy as np

from planner.batching import MAX_SEQUENCES, TOKENS_PER_PASS
from planner.costmodel.pace import Pace
from planner.demand import Floats, Ints


@dataclass(frozen=True, slots=True)
class Requests:
    """What arrives: seconds, prompt tokens and output tokens, in order of arrival.

    `cached` tokens at the start of each prompt are in the prefix cache of whoever prefills it: they take up KV, but are
    not computed (none unless given).
    """

    arrival_s: Floats
    prompt: Floats
    output: Floats
    cached: Floats | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """A replica as the simulator sees it: its pace, tokens of KV, and the limits of its engine's batches.

    Servers of one `host` slow each other down as far as their paces' `host_share` says.
    """

    pace: Pace
    kv_tokens: int
    max_sequences: int = MAX_SEQUENCES
    tokens_per_pass: int = TOKENS_PER_PASS
    host: str = ""


@dataclass(frozen=True, slots=True)
class Wire:
    """What KV transfers share by its name: an instance's way out or in, a link, the path between two replicas."""

    name: str
    bytes_per_s: float


@dataclass(frozen=True, slots=True)
class Lane:
    """A route: its share, the servers at its ends (the same one: local), and how KV gets from one to the other.

    A transfer is packed, takes `latency_s`, sends its bytes over all `wires` at once, and is unpacked. `parts` say how
    much of its bytes each wire carries; all of them, unless given. `router_s` is what a client waits longer for every
    token as the router is away from the engines.
    """

    prefill: int
    decode: int
    share: float
    latency_s: float = 0.0
    packing_s_per_token: float = 0.0
    wire_bytes_per_token: float = 0.0
    wires: tuple[Wire, ...] = ()
    parts: tuple[float, ...] = ()
    router_s: float = 0.0

    def __post_init__(self) -> None:
        if len(self.parts) not in (0, len(self.wires)) or not all(part > 0 for part in self.parts):
            raise ValueError(
                f"A lane over {len(self.wires)} wires has parts {self.parts}; expected one above 0 for each."
            )

    @property
    def is_local(self) -> bool:
        return self.prefill == self.decode


@dataclass(frozen=True, slots=True)
class Epoch:
    """The lanes of requests that arrive from `at_s` on; the first epoch also has those that come before."""

    at_s: float
    lanes: tuple[Lane, ...]

    def __post_init__(self) -> None:
        if not any(lane.share > 0 for lane in self.lanes):
            raise ValueError(f"The epoch at {self.at_s} s has {len(self.lanes)} lanes; expected one with a share.")


@dataclass(frozen=True, slots=True)
class Failure:
    """A server that is gone from `at_s` on, with all that it was doing."""

    server: int
    at_s: float


@dataclass(frozen=True, slots=True)
class Timings:
    """What became of each request, and how busy and full each server was.

    By request: when its first and last token came (infinite: lost), the servers that prefilled and decoded it (-1: none
    was up), the epoch of its route, and how often it was preempted. By server: `busy_s` seconds in each bucket of
    `bucket_s` from 0 on, `kv_held` tokens of KV in the mean of each bucket, and the most held at once. `end_s` is when
    the last request ended.
    """

    first_s: Floats
    last_s: Floats
    prefill: Ints
    decode: Ints
    epoch: Ints
    preemptions: Ints
    busy_s: Floats
    kv_held: Floats
    bucket_s: float
    peak_kv: Floats
    end_s: float
    events: int

    @property
    def busy_share(self) -> tuple[float, ...]:
        """Of the time until the end."""
        total = self.busy_s.sum(axis=1)
        return tuple((total / self.end_s if self.end_s > 0 else np.zeros_like(total)).tolist())
