"""A rebalance in words: what it changes, and what simulation expects before and after. Pure."""

from dataclasses import dataclass

from rich.text import Text

from planner.errors import ThunderError
from thunderctl import words
from thunderctl.tui.frame import Document
from thunderctl.tui.theme import ACCENT, BAD, FAINT, GOOD, INK, WARN, phase_style

FIGURES = (
    ("requests that meet the targets", "slo_attainment", words.share, True),
    ("goodput, requests/s", "goodput_rps", lambda value: f"{value:.2f}", True),
    ("TTFT p50", "ttft_p50_s", words.seconds, False),
    ("TTFT p99", "ttft_p99_s", words.seconds, False),
    ("TPOT p50", "tpot_p50_s", words.seconds, False),
    ("TPOT p99", "tpot_p99_s", words.seconds, False),
)
"""Label, key, how it is written, and whether more is better."""
NOTICEABLE = 0.005
"""A smaller difference, relative, has no colour."""
LABEL, CELL, REASONS = 32, 11, 4


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for: phases and routes anew, without these replicas or machines, or with one `back`."""

    without: tuple[str, ...] = ()
    back: str = ""

    @property
    def title(self) -> str:
        if self.back:
            return f"Undrain {self.back}"
        return f"Drain {', '.join(self.without)}" if self.without else "Rebalance"

    @property
    def words(self) -> str:
        """What follows the workload's name."""
        if self.back:
            return f", with {self.back} back"
        return f", without {', '.join(self.without)}" if self.without else ""


def waiting(workload: str, wish: Wish) -> Text:
    return Text(
        f"\nDeciding for the {workload} workload{wish.words}: search and simulation take some seconds.\n", FAINT
    )


def difference(document: Document, wish: Wish) -> bool:
    """Whether there is anything to put in force."""
    return bool(document["flips"] or wish.without or document.get("changes", True))


def preview(document: Document, workload: str, wish: Wish) -> Text:
    """Flips, routes, simulated figures before and after, and why."""
    lines = [Text(), _heading(workload, wish), *_flips(document), *_routes(document), Text(), *_figures(document)]
    if reasons := list(document.get("why") or ()):
        lines += [Text(), *(Text(f"· {reason}", FAINT) for reason in reasons[:REASONS])]
    if wish.without:
        lines += [Text(), Text(_what_drain_is(wish.without), WARN)]
    return Text("\n").join([*lines, Text(), Text("o observed   c coding   v conversation", FAINT)])


def result(document: Document, shown: Document | None) -> Text:
    """What is in force now; deciding anew may have found something else than what was shown."""
    lines = [Text(), Text(f"Epoch {document['epoch']} is in force.", f"bold {GOOD}"), *_flips(document)]
    if shown is not None and shown["flips"] != document["flips"]:
        lines.append(Text("What was observed changed meanwhile, and with it what was decided.", WARN))
    lines.append(Text(f"Decided in {document['decide_s']:.2f} s, applied in {document['apply_s']:.2f} s.", FAINT))
    return Text("\n").join([*lines, Text()])


def refusal(error: ThunderError) -> Text:
    lines = [Text(), Text(error.message, BAD), *([Text(error.hint, FAINT)] if error.hint else []), Text()]
    return Text("\n").join(lines)


def _heading(workload: str, wish: Wish) -> Text:
    return Text.assemble(("For the ", FAINT), (workload, f"bold {ACCENT}"), (f" workload{wish.words}", FAINT))


def _flips(document: Document) -> list[Text]:
    flips = document["flips"]
    if not flips:
        return [Text("No replica changes its phase.", INK)]
    width = max(len(one["replica"]) for one in flips)
    return [
        Text.assemble(
            (f"  {one['replica'].ljust(width)}  ", INK),
            (one["from"], phase_style(one["from"])),
            (" → ", FAINT),
            (one["to"], phase_style(one["to"])),
        )
        for one in flips
    ]


def _routes(document: Document) -> list[Text]:
    count = len(document["routes"])
    codecs = sorted({str(one["codec"]) for one in document["routes"]})
    return [Text(f"{count} route{'' if count == 1 else 's'}, {', '.join(codecs)}", FAINT)]


def _figures(document: Document) -> list[Text]:
    """Side by side; what gets better or worse has a colour, and an arrow for who sees none."""
    before, after = document["predicted_before"], document["predicted_after"]
    lines = [Text(f"{'simulated'.ljust(LABEL)}{'now'.rjust(CELL)}{'then'.rjust(CELL)}", FAINT)]
    for label, key, write, more in FIGURES:
        was, will = before.get(key), after.get(key)
        if was is None or will is None:
            continue
        gain = (will - was) * (1 if more else -1)
        noticed = abs(gain) > NOTICEABLE * max(abs(was), 1e-9)
        style, mark = (INK, "") if not noticed else (GOOD, " better") if gain > 0 else (BAD, " worse")
        lines.append(
            Text.assemble(
                (label.ljust(LABEL), INK),
                (write(was).rjust(CELL), FAINT),
                (write(will).rjust(CELL), style),
                (mark, style),
            )
        )
    return lines


def _what_drain_is(without: tuple[str, ...]) -> str:
    return (
        f"Routes leave {', '.join(without)} out; requests under way there go on. The machine below stays rented "
        f"and costs on: u on it, or `thunderctl undrain {without[0]}`, takes it back; the next `up` releases it."
    )
