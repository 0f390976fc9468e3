"""Named places where a test can kill the process, as a power cut would (`THUNDER_CRASH_AT=LABEL`).

The labels C0 to C7 are the lease protocol's: before the intent is committed (C0), after it (C1), request sent (C2),
reply read (C3), lease committed (C4), between two creates of one plan (C5), before (C6) and after (C6-after) a release
call, gone but not committed (C7).
"""

import os
import signal


def crash_point(label: str) -> None:
    """Die here if `THUNDER_CRASH_AT` names this place: no handler runs, nothing is flushed."""
    if os.environ.get("THUNDER_CRASH_AT") == label:
        die()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
