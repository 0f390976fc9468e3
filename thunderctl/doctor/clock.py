"""Is this host's clock right? Leases, certificates and signatures go by it. Providers' answers say what time it is."""

import asyncio
import os
import statistics
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp

from planner.market import snapshot
from provisioners.runpod.client import URL as RUNPOD_URL
from provisioners.vast.terms import URL as VAST_URL
from thunderctl.doctor.check import Check

WRONG_S = 60.0
"""AWS refuses signatures that are five minutes off; what we sign is good from the moment that it is signed."""
TIMEOUT = aiohttp.ClientTimeout(total=5)
MEND = "Set it: timedatectl set-ntp true, or what your system has for that."
WHERE = {
    "vast": ("VAST_URL", VAST_URL),
    "runpod": ("RUNPOD_URL", RUNPOD_URL),
    "aws": ("AWS_ENDPOINT_URL", "https://ec2.us-east-1.amazonaws.com"),
}
"""Provider → the variable that names its server, and the one that it is else."""


async def clock_check(providers: Iterable[str], newest: float) -> Check:
    """Compare with the servers of these providers; where none answers, with `newest`, the last thing that is known to
    have happened (seconds since the epoch)."""
    servers = [os.environ.get(variable) or url for name, (variable, url) in WHERE.items() if name in providers]
    found = await asyncio.gather(*(_ahead_s(server) for server in servers))
    return judged([ahead_s for ahead_s in found if ahead_s is not None], newest, time.time())


def judged(ahead_s: list[float], newest: float, now: float) -> Check:
    """`ahead_s`: how far this clock was before those of servers, to the second. Of several the middle one counts."""
    if ahead_s:
        off = statistics.median(ahead_s)
        how = "as providers' servers say" if abs(off) <= 1 else f"{abs(off):.0f} s {'ahead' if off > 0 else 'behind'}"
        return Check("clock", abs(off) <= WRONG_S, how, MEND)
    since = max(newest, datetime.fromisoformat(snapshot().as_of).replace(tzinfo=UTC).timestamp())
    stamp = datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds")
    if now < since - WRONG_S:
        return Check("clock", False, f"behind: something happened at {stamp}, which is yet to come by it", MEND)
    return Check("clock", True, f"not compared, as no server answered; it is past {stamp}, as it should be")


async def _ahead_s(server: str) -> float | None:
    """How far our clock is before a server's, taken to answer half-way; None where it doesn't say."""
    try:
        async with aiohttp.ClientSession(timeout=TIMEOUT, trust_env=True) as session:
            asked = time.time()
            async with session.head(server, allow_redirects=False) as response:
                said = parsedate_to_datetime(response.headers["Date"]).timestamp()
                return (asked + time.time()) / 2 - said - 0.5  # a Date has no fraction
    except (aiohttp.ClientError, TimeoutError, KeyError, ValueError, OSError):
        return None
