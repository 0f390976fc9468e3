"""Which host this is, where the pid in a lock's row can be looked up, and who works on it."""

import getpass
import hashlib
import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

MACHINE_ID = Path("/etc/machine-id")
PIDS = Path("/proc/self/ns/pid")


@cache
def this_host() -> str:
    """Its name, and by what it is told from others that have the same, as `localhost` or containers of an image have.

    Of the machine's id, which is nobody's affair, only a digest.
    """
    known = ""
    with suppress(OSError):
        known += MACHINE_ID.read_text().strip()
    with suppress(OSError):
        known += str(PIDS.readlink())
    return f"{socket.gethostname()}/{hashlib.sha256(known.encode()).hexdigest()[:12]}"


def this_user() -> str:
    """Their name; in a container that has none for its user, the number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
