"""The commands, one a file; each reads as the plot."""

import sys
from typing import Any


def _brief(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Ctrl-C while modules are still read is no traceback; Python itself ends the process as a shell expects."""
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("Interrupted.\n")
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _brief
