"""Replicas by phase: where each runs, how full it is of requests, and how full its KV cache is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text

from thunderctl import words
from thunderctl.fleet.attention import FULL, first_to_look_at
from thunderctl.fleet.crowds import MOST_ALONE, crowds_of
from thunderctl.tui import columns
from thunderctl.tui.drawing import bar
from thunderctl.tui.frame import Document, Frame
from thunderctl.tui.theme import BAD, FAINT, GOOD, INK, WARN, going_style, phase_style
from thunderctl.tui.widgets.rows import Row

ROOMY = 75
"""Columns with room for the cards of each row, which crowds bear in their names."""
PHASES = ("prefill", "decode", "mixed")
FIGURES, MOST_FIGURES, KV_FIGURE = 9, 14, 4
"""Columns of requests, `32/64 +3`, as many as there are of them, and of the KV cache."""


@dataclass(frozen=True, slots=True)
class Widths:
    """Columns of the table; what is left goes to the two bars."""

    name: int
    machine: int
    cards: int
    load: int
    figures: int
    kv: int

    @property
    def before(self) -> int:
        """What stands before the bars."""
        return self.name + self.machine + self.cards + 6

    @classmethod
    def of(cls, replicas: Sequence[Document], places: Sequence[tuple[str, str]], width: int) -> "Widths":
        most = max(12, width // 5) if any("kind" in one for one in replicas) else max(8, width // 6)
        name = columns.widest([_name(one) for one in replicas], 4, most)
        machine = columns.widest([place[0] for place in places], 2, max(8, width // 6))
        cards = columns.widest([place[1] for place in places], 0, 12)
        figures = columns.widest([_figures(one).plain for one in replicas], FIGURES, MOST_FIGURES)
        left = width - name - machine - cards - figures - KV_FIGURE - 12
        load = max(4, left * 3 // 5)
        return cls(name, machine, cards, load, figures, max(4, left - load))


def replica_rows(frame: Frame, width: int) -> Sequence[Row]:
    """A heading for each phase and its replicas below it; of very many their crowds, and whom to look at first."""
    machines = {str(one["id"]): one for one in frame.lists("instances")}
    replicas = [one for one in frame.lists("replicas") if frame.holds(*_words(one, machines))]
    if len(replicas) <= MOST_ALONE:
        return _by_phase(replicas, replicas, {str(one["id"]): _place(machines, one) for one in replicas}, width)
    crowds = crowds_of({"replicas": replicas, "instances": frame.lists("instances")})["replicas"]
    looked = first_to_look_at(replicas)
    on = {str(one["id"]): (f"{one['count']}×", f"{len(one['places'])} machines") for one in crowds}
    on |= {str(one["id"]): _place(machines, one) for one in looked}
    if width < ROOMY:
        on = {name: (first, "") for name, (first, _) in on.items()}
    rows = _by_phase(crowds, replicas, on, width)
    widths = Widths.of([*crowds, *looked], list(on.values()), width)
    rows.append(Row(Text(" to look at first", f"bold {INK}")))
    rows += [Row(_line(one, on[str(one["id"])], widths), str(one["id"])) for one in looked]
    return [*rows, Row(Text(f"   and {len(replicas) - len(looked)} more: / finds them", FAINT))]


def _by_phase(
    shown: Sequence[Document], replicas: Sequence[Document], on: Mapping[str, tuple[str, str]], width: int
) -> list[Row]:
    """What is shown, below headings that count all replicas."""
    widths = Widths.of(shown, list(on.values()), width)
    rows: list[Row] = []
    for phase in [*PHASES, *sorted({str(one["phase"]) for one in replicas} - set(PHASES))]:
        group = [one for one in replicas if one["phase"] == phase]
        if group:
            rows.append(Row(_phase_line(phase, group, widths, first=not rows)))
            of_phase = [one for one in shown if one["phase"] == phase]
            rows += [Row(_line(one, on[str(one["id"])], widths), str(one["id"])) for one in of_phase]
    return rows


def _words(one: Document, machines: Mapping[str, Document]) -> tuple[object, ...]:
    """What a filter may ask for."""
    gpus = (machines.get(str(name), {}).get("gpu", "") for name in one["instances"])
    return one["id"], one["phase"], one["state"], *one["instances"], *gpus


def _phase_line(phase: str, group: Sequence[Document], widths: Widths, *, first: bool) -> Text:
    ready = sum(one["state"] == "ready" for one in group)
    said = f"{len(group)} ready" if ready == len(group) else f"{ready} of {len(group)} ready"
    line = Text.assemble(
        " ",
        (phase, f"bold {phase_style(phase)}"),
        ("  " + said, FAINT if ready == len(group) else WARN if ready else BAD),
    )
    if first:  # it also heads the columns
        line.truncate(max(widths.before, line.cell_len + 2), pad=True)
        line.append("requests".ljust(widths.load + widths.figures + 3), FAINT)
        line.append("KV used", FAINT)
    return line


def _name(one: Document) -> str:
    return str(one.get("kind") or one["id"])


def _line(one: Document, place: tuple[str, str], widths: Widths) -> Text:
    line = Text.assemble(
        (" ▎", phase_style(one["phase"])),
        columns.column(_name(one), widths.name, INK),
        " ",
        columns.column(place[0], widths.machine, FAINT),
        " ",
        columns.column(place[1], widths.cards, FAINT),
        "  ",
    )
    if one["state"] != "ready" and not one.get("ready"):
        said = one["detail"] if one["state"] == "failed" else ""
        return Text.assemble(line, (one["state"], going_style(one["state"])), (f": {said}" if said else "", FAINT))
    kv = one["kv_usage"] or 0.0
    style = BAD if kv >= FULL else GOOD
    return Text.assemble(
        line, _load(one, widths), "  ", bar(kv, widths.kv, style), words.share(kv).rjust(KV_FIGURE + 1)
    )


def _load(one: Document, widths: Widths) -> Text:
    """Running of the most it holds, as a bar and in figures; what waits comes behind that."""
    running, waiting, most = one["running"] or 0, one["waiting"] or 0, one.get("max_requests")
    most_known = most or max(running + waiting, 1)
    drawn = (
        bar(running / most_known, widths.load, phase_style(one["phase"]), more=waiting / most_known)
        if most
        else Text(" " * widths.load)
    )
    figures = _figures(one)
    figures.truncate(widths.figures, overflow="ellipsis", pad=True)
    return Text.assemble(drawn, " ", figures)


def _figures(one: Document) -> Text:
    """`41/64 +3`: running, of the most it holds, and waiting."""
    most, waiting = one.get("max_requests"), one["waiting"]
    figures = Text.assemble((str(one["running"] or 0), INK), (f"/{most}" if most else "", FAINT))
    return figures.append(f" +{waiting}", WARN) if waiting else figures


def _place(machines: Mapping[str, Document], one: Document) -> tuple[str, str]:
    """Its machine, and its cards there: `i0` and `2×A40`; `i0 +1` where it spans several."""
    names = one["instances"]
    if not names:
        return "", ""
    machine = machines.get(str(names[0]), {})
    cards = f"{one.get('tp') or machine['gpu_count']}×{machine['gpu']}" if machine.get("gpu") else ""
    return f"{names[0]}{f' +{len(names) - 1}' if len(names) > 1 else ''}", cards
