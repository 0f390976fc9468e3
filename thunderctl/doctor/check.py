"""One thing that was looked at, and what to do where it is not as it should be."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from planner.errors import ThunderError


@dataclass(frozen=True, slots=True)
class Check:
    """`detail` is what was found; `mend` is what to do where it is not `ok`."""

    name: str
    ok: bool
    detail: str
    mend: str = ""


def check(name: str, look: Callable[[], str], mend: str) -> Check:
    """What `look` finds; where it raises, that is what was found, with its own hint or `mend`."""
    try:
        return Check(name, True, look())
    except (ThunderError, OSError, subprocess.SubprocessError) as error:
        said = error.message if isinstance(error, ThunderError) else str(error)
        hint = error.hint if isinstance(error, ThunderError) else ""
        return Check(name, False, said, hint or mend)
