"""Pages of text that come in front of the screen: one thing with all that is known of it, alerts, and keys. Pure."""

from rich.text import Text

from thunderctl.tui import words
from thunderctl.tui.frame import Document, Frame
from thunderctl.tui.theme import ACCENT, BAD, FAINT, INK

KEY_WIDTH = 12
KEYS = Text("\n").join(
    Text.assemble((key.ljust(KEY_WIDTH), ACCENT), (what, INK))
    for key, what in (
        ("tab", "the next part of the screen: its title is lit"),
        ("up, down", "choose a replica, a machine, an event"),
        ("enter", "all that is known of it"),
        ("r", "rebalance: shows what would change, and asks"),
        ("d", "drain what is chosen: shows routes without it, and asks"),
        ("l", "logs of what is chosen, followed; else of everything"),
        ("/", "only rows that hold what you type; escape: all"),
        ("m", "machines, or replicas again"),
        ("a", "all alerts"),
        ("f5", "read it again now (it is read every second)"),
        ("q", "quit; nothing stops"),
    )
)


def details(frame: Frame, name: str) -> Text:
    """Every entry of the status document that bears the name, field by field."""
    found = [one for key in ("replicas", "instances") for one in frame.lists(key) if one["id"] == name]
    return Text("\n\n").join(_fields(one) for one in found) if found else Text("It is gone.", FAINT)


def alerts(frame: Frame) -> Text:
    found = frame.lists("alerts")
    if not found:
        return Text("None.", FAINT)
    return Text("\n").join(Text.assemble(("! ", f"bold {BAD}"), (str(alert), INK)) for alert in found)


def wrapped(said: str) -> Text:
    return Text(said, INK)


def _fields(one: Document) -> Text:
    known = {key: _said(key, value) for key, value in one.items() if value not in (None, "", [], {})}
    width = max(map(len, known), default=0) + 2
    return Text("\n").join(Text.assemble((key.ljust(width), FAINT), (text, INK)) for key, text in known.items())


def _said(key: str, value: object) -> str:
    if key.endswith("_at") and isinstance(value, float | int):
        return f"{words.clock(value)} UTC"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_said(name, one)}" for name, one in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
