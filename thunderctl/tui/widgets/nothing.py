"""What stands where nothing is deployed: what to run."""

from collections.abc import Sequence

from rich.text import Text

from thunderctl.tui.frame import Frame
from thunderctl.tui.theme import ACCENT, FAINT, INK

NEXT = (
    ("thunderctl init", "write a thunder.toml, every key explained"),
    ("thunderctl plan", "see what your budget buys; it spends nothing"),
    ("thunderctl up", "rent it, start it, serve it"),
)


def nothing(frame: Frame, width: int, _height: int) -> Sequence[Text]:
    """In the middle of the line. What is there already is still listed below."""
    if frame.state != "absent":
        return []
    indent = " " * max((width - 66) // 2, 2)
    begun = [Text(), Text(f"{indent}Nothing is deployed.", f"bold {INK}"), Text()]
    steps = [Text.assemble(f"{indent}", (f"{what:<18}", ACCENT), (why, FAINT)) for what, why in NEXT]
    return [*begun, *steps, Text(), Text(f"{indent}This screen follows as soon as something is there.", FAINT), Text()]
