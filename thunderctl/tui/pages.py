"""Pages of text that come in front of the screen: one thing with all that is known of it, alerts, and keys. Pure."""

from rich.text import Text

from thunderctl import words
from thunderctl.fleet.attention import first_to_look_at
from thunderctl.fleet.crowds import crowds_of
from thunderctl.tui.frame import Document, Frame
from thunderctl.tui.theme import ACCENT, BAD, FAINT, GOOD, INK, WARN

KEY_WIDTH, MOST_MEMBERS = 12, 100
KEYS = Text("\n").join(
    Text.assemble((key.ljust(KEY_WIDTH), ACCENT), (what, INK))
    for key, what in (
        ("tab", "the next part of the screen: its title is lit"),
        ("up, down", "choose a replica, a machine, an event"),
        ("enter", "all that is known of it"),
        ("r", "rebalance: shows what would change, and asks"),
        ("d", "drain what is chosen: shows routes without it, and asks"),
        ("u", "undrain a machine: shows routes with it again, and asks"),
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
    if crowd := next((one for one in _crowds(frame) if one["id"] == name), None) if not found else None:
        return _members(frame, crowd)
    return Text("\n\n").join(_fields(one) for one in found) if found else Text("It is gone.", FAINT)


def _crowds(frame: Frame) -> list[Document]:
    found: list[Document] = crowds_of(frame.status)["replicas"] if frame.status else []
    return found


def _members(frame: Frame, crowd: Document) -> Text:
    """Those of a crowd, whom to look at first in front; so many that it can still be read."""
    ids = set(crowd["members"])
    found = first_to_look_at([one for one in frame.lists("replicas") if one["id"] in ids], MOST_MEMBERS)
    lines = [
        Text.assemble(
            (f"{one['id']:<10}", INK),
            (f"{', '.join(one['instances']):<10}", FAINT),
            (f"{one['state']:<10}", GOOD if one["state"] == "ready" else WARN),
            (f"{one['running'] or 0}/{one.get('max_requests') or '-'}".rjust(8), INK),
            (f" +{one['waiting']}" if one["waiting"] else "", WARN),
            (f"   KV {words.share(one['kv_usage'])}", FAINT),
        )
        for one in found
    ]
    more = [Text(f"and {len(ids) - len(found)} more", FAINT)] if len(ids) > len(found) else []
    return Text("\n").join([*lines, *more])


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
