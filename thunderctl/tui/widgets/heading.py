"""What it is and how it is, what it burns of its budget, and how long that goes on: the screen's first lines."""

from collections.abc import Sequence

from rich.text import Text

from thunderctl import words
from thunderctl.tui import columns
from thunderctl.tui.drawing import bar
from thunderctl.tui.frame import Document, Frame
from thunderctl.tui.theme import BAD, FAINT, GOOD, INK, STATES, WARN

OLD_S = 10.0
"""What was read longer ago is said to be old: a provider may take long to list its machines."""
SHORT_S, LONG_S = 900.0, 3600.0
WIDE = 100
MODEL_LEAST = 12
"""Columns below which a model's name says nothing any more."""
NEAR = 0.9
"""Of a limit: from there on it is shown as near."""


def heading(frame: Frame, width: int, _height: int) -> Sequence[Text]:
    """Two lines; three while machines come up."""
    status = frame.status
    if status is None:
        return [Text(" Reading the deployment …", FAINT)]
    lines = [_what(frame, status, width)]
    if status["state"] != "absent":
        lines.append(_money(status, width))
    if status["state"] == "starting":
        lines.append(_coming(frame, width))
    return lines


def _what(frame: Frame, status: Document, width: int) -> Text:
    """Who looks copies the endpoint, so all else gives way to it: first the model's name, then the epoch."""
    glyph, style = STATES.get(status["state"], ("?", INK))
    name = columns.clipped(status["deployment"], max(width // 4, 8))
    left = Text.assemble(" ", (name, f"bold {INK}"), "  ", (f"{glyph} {status['state']}", f"bold {style}"))
    read_at = frame.read_at or frame.now
    old = frame.now - read_at > OLD_S
    right = Text(f"{words.clock(read_at)} UTC ", WARN if old else FAINT)
    endpoint = f"  {status['endpoint']}" if status.get("endpoint") else ""
    room = width - left.cell_len - len(endpoint) - right.cell_len - 2
    if status["state"] != "absent" and len(epoch := f"epoch {status['epoch']}  ") <= room:
        right = Text(epoch, FAINT) + right
        room -= len(epoch)
    model = status.get("model") or ""
    if min(len(model), MODEL_LEAST) <= room - 2 and model:
        left.append(f"  {columns.clipped(model, room - 2)}", FAINT)
    left.append(endpoint, FAINT)
    return columns.spread(left, right, width)


def _money(status: Document, width: int) -> Text:
    cost, budget = status["cost_usd_per_hour"], status["budget_usd_per_hour"]
    used = cost / budget if budget else float(cost > 0)
    style = BAD if used > 1 + 1e-9 else GOOD
    left = Text.assemble(
        " ",
        (f"{words.usd(cost)}/h ", f"bold {style}"),
        bar(used, 10 if width < WIDE else 24, style),
        (f" of {words.usd(budget)}", FAINT),
    )
    ending = status.get("ending") or {}
    spent = float(ending.get("counted_usd", status["spent_usd"]) or 0.0)
    left.append(f"   {words.usd(spent)}", INK)
    if most := ending.get("max_total_usd"):
        left.append(f" of {words.usd(most)}", WARN if spent > NEAR * most else FAINT)
    left.append(" spent", FAINT)
    return columns.spread(left, _left(ending, width), width)


def _left(ending: Document, width: int) -> Text:
    """How long it goes on by itself; where there is room, what ends it."""
    left_s = ending.get("left_s")
    if left_s is None:
        return Text("")
    style = BAD if left_s < SHORT_S else WARN if left_s < LONG_S else INK
    cause = "leases end" if ending.get("at") == ending.get("leases_end_at") else "money is spent"
    return Text.assemble((words.span(left_s), style), (" left " if width < WIDE else f" until {cause} ", FAINT))


def _coming(frame: Frame, width: int) -> Text:
    machines, replicas = frame.lists("instances"), frame.lists("replicas")
    wanted = len(machines) + len(frame.lists("awaited"))
    stand = sum(one["state"] == "ready" for one in machines)
    ready = sum(one["state"] == "ready" for one in replicas)
    done = (stand + ready) / max(wanted + len(replicas), 1)
    return Text.assemble(
        " ",
        ("coming up ", WARN),
        bar(done, 10 if width < WIDE else 24, WARN),
        (f" {stand} of {wanted} machines, {ready} of {len(replicas)} replicas ready", FAINT),
    )
