"""Markets as they are asked: on a terminal one line that says who is, since one that is silent takes half a minute."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from thunderctl.cli import output

if TYPE_CHECKING:
    from thunderctl.spec.spec import Spec


@contextmanager
def asking_line(spec: "Spec", offers: Path | None) -> Iterator[Callable[[str], None]]:
    """What to tell meanwhile. There is no line where a file has the offers, or no market beyond this host is named."""
    from thunderctl.markets.markets import ANSWER_S, named

    asked = () if offers else sorted(named(spec) - ({"local"} if spec.ssh.hosts else {"local", "ssh"}))
    console = output.narrator()
    if not asked or not console.is_terminal:
        yield output.narrate
        return
    with console.status(f"asking {', '.join(asked)} for live offers (at most {ANSWER_S:.0f} s)"):
        yield lambda text: console.print(text, markup=False)
