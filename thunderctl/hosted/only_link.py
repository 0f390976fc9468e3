"""One link at a time to a router elsewhere: who makes or keeps it holds a lock, and says in its file who that is."""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from planner.errors import HostError
from runtime.processes import own_process_id
from thunderctl.processes.router_process import LINK


@contextmanager
def only_link(router: Path, says: Mapping[str, str]) -> Iterator[None]:
    """Hold the lock in the router's folder; `says` is written beside this process's id. Raises HostError where another
    process has it: that one may still be on its way, its starter killed."""
    with (router / LINK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HostError(
                "Another process makes or keeps the way to the router.", hint="Run it again: it is waited for."
            ) from None
        lock.truncate(0)
        json.dump({**asdict(own_process_id()), **says}, lock)
        lock.flush()
        yield
