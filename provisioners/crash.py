"""Named places where a test can kill the process, as a power cut would (`THUNDER_CRASH_AT=LABEL`).

The labels C0 to C7 are the lease protocol's: before the intent is committed (C0), after it (C1), request sent (C2),
reply read (C3), lease committed (C4), between two creates of one plan (C5), before (C6) and after (C6-after) a release
call, gone but not committed (C7), between two pages of a listing (C8). A host's that is prepared: its environment is
made (B1), our files are there (B2), the model is (B3), its agent is started (B4), and listens (B5). The controller's: a
lease is draining (K1), routes are in force (K2), what rests is committed (K3). Of whoever changes phases, a command or
the controller: which plan is wanted is committed (K5), the router has its routes (K6), all but their event is written
down (K4). Of an instance that is brought up beside all else: it is leased (R1), ready (R2), its engine is (R3), and
it is in the routes (R4). `down`'s: that it is wanted is committed (D1), and the router has ended (D2). Of a move to
another host: the bundle is written (M1), rows are handed over (M2) and taken in there (M3), all is there (M4), or home
again (M5).
"""

import os
import signal


def crash_point(label: str) -> None:
    """Die here if `THUNDER_CRASH_AT` names this place: no handler runs, nothing is flushed."""
    if os.environ.get("THUNDER_CRASH_AT") == label:
        die()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
