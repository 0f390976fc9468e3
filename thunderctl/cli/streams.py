"""stdin, stdout and stderr as they may be: closed, full, read by nobody, or without letters such as `→`."""

import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def make_usable() -> None:
    """Give what is closed (`>&-`) a place, and print `?` for letters that a stream's encoding does not have."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
        elif mode == "w" and isinstance(stream, TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
            stream.reconfigure(errors="replace")


def drop(stream: IO[str]) -> None:
    """What is still to be written to it goes nowhere: its reader has gone, or its disk is full."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def flushed(code: int) -> int:
    """The exit code, once what was printed has arrived: 0 where its reader had enough, 1 where it has no room."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        drop(sys.stdout)
    except OSError as error:
        drop(sys.stdout)
        with suppress(OSError):
            sys.stderr.write(f"error: The output can't be written: {error.strerror}.\n")
        return code or 1
    return code


def narrating_console() -> "Console":
    """Of stderr. Work goes on where nobody reads any more what it says, as in `2>&1 | head`."""
    from rich.console import Console

    class Narrator(Console):
        def on_broken_pipe(self) -> None:
            self.quiet = True
            drop(sys.stderr)

    return Narrator(stderr=True, highlight=False, soft_wrap=True)
