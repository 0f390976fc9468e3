"""What is rented: each machine with its cards, its price and its state; those that are still to come behind them."""

from collections.abc import Iterator, Sequence

from rich.text import Text

from thunderctl import words
from thunderctl.fleet.attention import LOOK_AT, machine_needs_a_look
from thunderctl.fleet.crowds import MOST_ALONE, machine_crowds
from thunderctl.tui import columns
from thunderctl.tui.frame import Document, Frame
from thunderctl.tui.theme import BAD, FAINT, INK, WARN, going_style
from thunderctl.tui.widgets.rows import Row

SOON_S = 3600.0


def machine_rows(frame: Frame, width: int) -> Sequence[Row]:
    """While they come up, how long each has taken stands in place of its pool. Of very many, their kinds."""
    leased = [one for one in frame.lists("instances") if _held(frame, one)]
    awaited = [one for one in frame.lists("awaited") if _held(frame, one)]
    if len(leased) + len(awaited) <= MOST_ALONE:
        return _each(frame, leased, awaited, width)
    looked = [one for one in leased if machine_needs_a_look(one)][:LOOK_AT]
    more = len(leased) + len(awaited) - len(looked)
    return [
        *_kinds(machine_crowds([*leased, *awaited]), width),
        *([Row(Text(" to look at first", f"bold {INK}"))] if looked else []),
        *_each(frame, looked, (), width),
        Row(Text(f"   and {more} more: / finds them", FAINT)),
    ]


def _kinds(crowds: Sequence[Document], width: int) -> list[Row]:
    cards = columns.widest([_cards(one) for one in crowds], 0, max(8, width // 5))
    place = columns.widest([_place(one) for one in crowds], 5, max(8, width // 4))
    return [Row(_kind(one, cards, place)) for one in crowds]


def _kind(one: Document, cards: int, place: int) -> Text:
    states = ((state, count) for state, count in one["states"].items())
    line = Text.assemble(
        (f"{one['count']:>5}× ", INK),
        columns.column(_cards(one), cards, INK),
        " ",
        columns.column(_place(one), place, FAINT),
        " ",
        columns.column(f"{words.usd(one['usd_per_hour'])}/h", 9, INK, right=True),
        " ",
    )
    for state, count in states:
        line.append(f" {count} {state}", going_style(state))
    return line.append(f"  {one['problems']} with a problem", BAD) if one["problems"] else line


def _each(frame: Frame, leased: Sequence[Document], awaited: Sequence[Document], width: int) -> list[Row]:
    name = columns.widest([one["id"] for one in (*leased, *awaited)], 3, max(8, width // 5))
    cards = columns.widest([_cards(one) for one in (*leased, *awaited)], 0, max(8, width // 5))
    place = columns.widest([_place(one) for one in (*leased, *awaited)], 5, max(8, width // 4))
    rows = [Row(_line(frame, one, (name, cards, place), width), str(one["id"])) for one in leased]
    return [*rows, *(Row(_awaited(one, (name, cards, place))) for one in awaited)]


def _line(frame: Frame, one: Document, widths: tuple[int, int, int], width: int) -> Text:
    line = _begun(one, widths, INK)
    if one["problem"]:
        return line.append(one["problem"], BAD)
    line.append(f"{one['state']:<10}", going_style(one["state"]))
    if one["state"] in ("draining", "deleting") and one.get("reason"):
        return line.append(one["reason"], FAINT)
    created_at = one.get("created_at")
    if one["state"] != "ready" or frame.state == "starting":
        return line.append(f"for {words.span(max(frame.now - created_at, 0.0))}" if created_at else "", FAINT)
    for cell in _known(frame, one):
        if line.cell_len + cell.cell_len > width:
            break  # whole or not at all: the page of a machine has everything
        line.append_text(cell)
    return line


def _known(frame: Frame, one: Document) -> Iterator[Text]:
    """What else there is to say of one that is ready, the most important first."""
    if (ends_at := one.get("expires_at")) is not None:
        left_s = max(ends_at - frame.now, 0.0)
        yield Text(f"{words.span(left_s)} left".ljust(17), WARN if left_s < SOON_S else FAINT)
    if (pool := one["kv_pool_used_share"]) is not None:
        yield Text(f"KV pool {pool:.0%}".ljust(14), FAINT)
    if one.get("interruptible"):
        yield Text("interruptible", FAINT)


def _awaited(one: Document, widths: tuple[int, int, int]) -> Text:
    return _begun(one, widths, FAINT).append("awaited", FAINT)


def _begun(one: Document, widths: tuple[int, int, int], style: str) -> Text:
    name, cards, place = widths
    return Text.assemble(
        "  ",
        columns.column(one["id"], name, style),
        " ",
        columns.column(_cards(one), cards, FAINT),
        " " if cards else "",
        columns.column(_place(one), place, FAINT),
        " ",
        columns.column(f"{words.usd(one['usd_per_hour'])}/h", 9, style, right=True),
        "  ",
    )


def _cards(one: Document) -> str:
    return f"{one['gpu_count']}×{one['gpu']}" if one.get("gpu") else ""


def _place(one: Document) -> str:
    region = one["region"] if one["region"] != one["provider"] else ""
    return f"{one['provider']} {region}".strip()


def _held(frame: Frame, one: Document) -> bool:
    return frame.holds(one["id"], one["provider"], one["region"], one.get("gpu", ""), one.get("state", "awaited"))
