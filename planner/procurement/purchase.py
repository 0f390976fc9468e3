"""What can be rented and formed, as arrays, and what is chosen of it: the words of procurement."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SINGLE, JOINT = range(2)
"""Who does the other phase of KV that stays where it is: groups of that instance alone, or such as span several."""
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Groups:
    """Possible groups for one phase, one a row: the offer its GPUs are from, how many they are, and its requests/s."""

    offer: Ints
    gpus: Ints
    rps: Floats


@dataclass(frozen=True, slots=True)
class Shop:
    """The offers, one a row, and how KV leaves and enters them.

    `network` and `machine` number the private networks and physical machines, -1 for none. `holds_both` says whether a
    prefill and a decode group fit one copy, so that KV can stay inside. `slower` is how many times
    fewer prompts/s a prefill group does when its KV leaves the instance (network, world); infinite: it cannot.
    `wire_rps` is how many requests/s of KV an instance's bandwidth carries (out, in). `out_usd_per_hour` and
    `in_usd_per_hour` are what one request/s costs to send to the world and to receive from it. `availability` is the
    part of the time that an offer is up.
    """

    usd_per_hour: Floats
    gpus: Ints
    available: Ints
    network: Ints
    machine: Ints
    holds_both: npt.NDArray[np.bool_]
    slower: Floats
    wire_rps: Floats
    out_usd_per_hour: Floats
    in_usd_per_hour: Floats
    availability: Floats


@dataclass(frozen=True, slots=True)
class Spans:
    """Possible groups over several instances of a network, one a row: its network, its phase (by its place in `Phase`),
    the GPUs it takes of each pool, and its requests/s. `pool` says for each offer which pool its GPUs are in, or -1.

    KV is counted by layers, as requests/s times the part of the layers: `held[r, p]` is how much of it a group can have
    at most on its instances of a pool, and `stays[r, p]` how much of that can stay on them because single groups there
    do the other phase (`SINGLE`), or groups that span (`JOINT`). `reach` says for each offer whether all KV of any such
    group can leave it in time (network, world). Beside what stays of a request's KV, at most `most_beside` times as
    much leaves.
    """

    pool: Ints
    network: Ints
    phase: Ints
    gpus: Floats
    rps: Floats
    held: Floats
    stays: Floats
    reach: npt.NDArray[np.bool_]
    most_beside: float = 0.0

    @classmethod
    def none(cls, offers: int) -> "Spans":
        return cls(
            pool=np.full(offers, -1),
            network=np.zeros(0, np.int64),
            phase=np.zeros(0, np.int64),
            gpus=np.zeros((0, 0)),
            rps=np.zeros(0),
            held=np.zeros((0, 0)),
            stays=np.zeros((0, 0, 2)),
            reach=np.ones((offers, 2), dtype=np.bool_),
        )


@dataclass(frozen=True, slots=True)
class Purchase:
    """Copies of each offer, and how many of each group; what they serve while they are up, and a bound on what any
    purchase is expected to serve, given that interruptible ones are not always.

    Where the least cost was sought, the bound is on the cost, from below.
    """

    copies: Ints
    prefill: Ints
    decode: Ints
    mixed: Ints
    served_rps: float
    usd_per_hour: float
    bound: float


@dataclass(frozen=True, slots=True)
class Formation:
    """Copies of each offer, how many of each group, and of each one that spans instances, or parts of one."""

    copies: Ints
    prefill: Ints
    decode: Ints
    mixed: Ints
    spanning: Floats
