"""How many files a process may open, and what to do when there are no more. A request of the router takes two."""

import errno
import resource
from contextlib import suppress

KEPT = 100
"""For the router's log, its store of usage, probes, and connections to engines that are idle."""


def raise_file_limit() -> None:
    """As many as the host grants without anybody's leave. An agent's engines inherit the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems promise more than they give
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def most_requests(max_queued: int) -> int:
    """How many requests can be carried at a time, while others wait or ask: they hold one file each."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max((files - KEPT - min(max_queued, files // 20)) // 2, 1)


def most_clients(requests: int) -> int:
    """How many clients may be connected while so many requests are carried, which hold another file to an engine."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(files - KEPT - requests, 1)


def ran_out(error: OSError) -> bool:
    """Whether it was for want of files, which is no fault of whoever was asked."""
    return error.errno in (errno.EMFILE, errno.ENFILE)
