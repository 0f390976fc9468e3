"""`thunderctl --help`: commands in the order of their use, a short line each; and what Ctrl-C of any of them is."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

SECTIONS: Mapping[str, Mapping[str, str]] = {
    "Look and plan (never spends)": {
        "init": "Write a commented thunder.toml",
        "doctor": "Check this host, and what mends it",
        "offers": "What the markets sell now",
        "plan": "Choose what to rent and how it serves",
        "simulate": "Replay requests against a plan",
        "predict": "Predict the rows of a latency table",
    },
    "Serve": {
        "up": "Rent, prepare, start and route a plan",
        "status": "What runs, its load, latency and cost",
        "bench": "Load the endpoint, beside the prediction",
        "rebalance": "Phases and routes anew, nothing restarted",
        "drain": "Send a replica or instance no more",
        "undrain": "Take a drained one back",
        "down": "Release every machine, proven gone",
    },
    "Money": {
        "leases": "What is rented, and what it cost",
        "gc": "Find machines that no lease stands for",
    },
    "Look inside and administer": {
        "events": "What happened",
        "history": "Its plans, to go back to one",
        "logs": "The ends of logs, across machines",
        "ssh": "A shell or a command on an instance",
        "keys": "Who may use the endpoint, and how much",
        "copy-store": "Move to PostgreSQL",
    },
}
SHORT: Mapping[str, str] = {name: text for section in SECTIONS.values() for name, text in section.items()}
WIDTH = max(map(len, SHORT))


class Sectioned(TyperGroup):
    """The commands by section; what no section names stays unlisted, as hidden commands are."""

    def make_context(self, *given: Any, **named: Any) -> Any:
        with _aborting():
            return super().make_context(*given, **named)

    def invoke(self, ctx: Any) -> Any:
        with _aborting():
            return super().invoke(ctx)

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands, key=_place)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(WIDTH), names[name]) for name in names if name in self.commands])


@contextmanager
def _aborting() -> Iterator[None]:
    """Ctrl-C as typer.Abort: of what typer makes of it otherwise, nobody can tell that it was one."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Abort from None


def _place(name: str, order: Sequence[str] = tuple(SHORT)) -> int:
    return order.index(name) if name in order else len(order)
