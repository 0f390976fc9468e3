"""Replicas by phase: where each runs, how full it is of requests, and how full its KV cache is."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from thunderctl.tui import words
from thunderctl.tui.drawing import bar
from thunderctl.tui.frame import Document, Frame
from thunderctl.tui.theme import BAD, FAINT, GOOD, INK, WARN, going_style, phase_style
from thunderctl.tui.widgets.rows import Row

PHASES = ("prefill", "decode", "mixed")
FULL = 0.95
"""Of the KV cache: from there on requests wait for room in it."""
FIGURES, KV_FIGURE = 9, 4


@dataclass(frozen=True, slots=True)
class Widths:
    """Columns of the table; what is left goes to the two bars."""

    name: int
    machine: int
    cards: int
    load: int
    kv: int

    @property
    def before(self) -> int:
        """What stands before the bars."""
        return self.name + self.machine + self.cards + 6

    @classmethod
    def of(cls, replicas: Sequence[Document], places: Sequence[tuple[str, str]], width: int) -> "Widths":
        name = words.widest([one["id"] for one in replicas], 4, max(8, width // 6))
        machine = words.widest([place[0] for place in places], 2, max(8, width // 6))
        cards = words.widest([place[1] for place in places], 0, 12)
        left = width - name - machine - cards - FIGURES - KV_FIGURE - 12
        load = max(4, left * 3 // 5)
        return cls(name, machine, cards, load, max(4, left - load))


def replica_rows(frame: Frame, width: int) -> Sequence[Row]:
    """A heading for each phase and its replicas below it."""
    replicas = [one for one in frame.lists("replicas") if frame.holds(one["id"], one["phase"], *one["instances"])]
    on = {one["id"]: _place(frame, one) for one in replicas}
    widths = Widths.of(replicas, list(on.values()), width)
    known = [*PHASES, *sorted({str(one["phase"]) for one in replicas} - set(PHASES))]
    rows: list[Row] = []
    for phase in known:
        group = [one for one in replicas if one["phase"] == phase]
        if group:
            rows.append(Row(_phase_line(phase, group, widths, first=not rows)))
            rows += [Row(_line(one, on[one["id"]], widths), str(one["id"])) for one in group]
    return rows


def _phase_line(phase: str, group: Sequence[Document], widths: Widths, *, first: bool) -> Text:
    ready = sum(one["state"] == "ready" for one in group)
    said = f"{len(group)} ready" if ready == len(group) else f"{ready} of {len(group)} ready"
    line = Text.assemble(
        " ",
        (phase, f"bold {phase_style(phase)}"),
        ("  " + said, FAINT if ready == len(group) else WARN if ready else BAD),
    )
    if first:  # it also heads the columns
        line.truncate(widths.before, pad=True)
        line.append("requests".ljust(widths.load + FIGURES + 3), FAINT)
        line.append("KV used", FAINT)
    return line


def _line(one: Document, place: tuple[str, str], widths: Widths) -> Text:
    line = Text.assemble(
        (" ▎", phase_style(one["phase"])),
        words.column(one["id"], widths.name, INK),
        " ",
        words.column(place[0], widths.machine, FAINT),
        " ",
        words.column(place[1], widths.cards, FAINT),
        "  ",
    )
    if one["state"] != "ready":
        said = one["detail"] if one["state"] == "failed" else ""
        return Text.assemble(line, (one["state"], going_style(one["state"])), (f": {said}" if said else "", FAINT))
    kv = one["kv_usage"] or 0.0
    style = BAD if kv >= FULL else GOOD
    return Text.assemble(
        line, _load(one, widths), "  ", bar(kv, widths.kv, style), words.share(kv).rjust(KV_FIGURE + 1)
    )


def _load(one: Document, widths: Widths) -> Text:
    """Running of the most it holds, as a bar and in figures; what waits comes behind that."""
    running, waiting, most = one["running"], one["waiting"], one.get("max_requests")
    most_known = most or max(running + waiting, 1)
    drawn = (
        bar(running / most_known, widths.load, phase_style(one["phase"]), more=waiting / most_known)
        if most
        else Text(" " * widths.load)
    )
    figures = Text.assemble((str(running), INK), (f"/{most}" if most else "", FAINT))
    if waiting:
        figures.append(f" +{waiting}", WARN)
    figures.truncate(FIGURES, overflow="ellipsis", pad=True)
    return Text.assemble(drawn, " ", figures)


def _place(frame: Frame, one: Document) -> tuple[str, str]:
    """Its machine, and its cards there: `i0` and `2×A40`; `i0 +1` where it spans several."""
    names = one["instances"]
    if not names:
        return "", ""
    machine = next((found for found in frame.lists("instances") if found["id"] == names[0]), {})
    cards = f"{one.get('tp') or machine['gpu_count']}×{machine['gpu']}" if machine.get("gpu") else ""
    return f"{names[0]}{f' +{len(names) - 1}' if len(names) > 1 else ''}", cards
