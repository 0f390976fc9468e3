"""The manual page, as roff, from the command line itself: `python -m thunderctl.cli.manual > docs/thunderctl.1`."""

import sys
from collections.abc import Iterator
from typing import Any

import typer

EXIT_CODES = (
    (0, "done"),
    (1, "something failed that is not the caller's fault: a provider, a host, an engine"),
    (2, "the input is wrong; nothing was touched"),
    (3, "infeasible: no plan meets the targets"),
    (4, "refused: over the budget or a limit, or a confirmation is needed"),
    (5, "incomplete: run it again"),
    (130, "interrupted; the state is consistent, and `up` resumes"),
)
FILES = (
    ("./thunder.toml", "The spec: `thunderctl init` writes one with comments. Every key may be left out."),
    (
        "$THUNDER_HOME",
        "Everything that is written: the store, plans, keys, logs. By default in the user's data folder.",
    ),
)
ENVIRONMENT = (
    ("THUNDER_HOME", "Where everything that thunderctl writes lies."),
    ("THUNDER_DATABASE_URL", "The store, where it is not SQLite in THUNDER_HOME."),
    ("THUNDER_API_URL, THUNDER_API_TOKEN", "A controller elsewhere."),
    ("VAST_API_KEY, RUNPOD_API_KEY, AWS_*, HF_TOKEN", "Credentials of providers and of the model hub."),
    ("NO_COLOR", "Set: no colours."),
    ("THUNDER_DEBUG", "Set: a bug shows where it is."),
)


def manual_page(app: typer.Typer, version: str) -> str:
    """All commands that `--help` lists, with their options and examples."""
    return "\n".join(_lines(typer.main.get_command(app), version)) + "\n"


def _lines(program: Any, version: str) -> Iterator[str]:
    yield f'.TH THUNDERCTL 1 "" "thunderctl {version}" "User Commands"'
    yield from (".SH NAME", f"thunderctl \\- {_escaped(_clause(program.help))}")
    yield from (".SH SYNOPSIS", ".B thunderctl", "[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]")
    yield from (".SH OPTIONS", *_parameters(program))
    yield ".SH COMMANDS"
    for words, command in _commands(program):
        yield from _described(words, command)
    yield ".SH EXIT STATUS"
    yield from _listed((str(code), meaning) for code, meaning in EXIT_CODES)
    yield from (".SH FILES", *_listed(FILES))
    yield from (".SH ENVIRONMENT", *_listed(ENVIRONMENT))


def _commands(group: Any, before: str = "thunderctl") -> Iterator[tuple[str, Any]]:
    """Those of a group of commands follow it."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        yield f"{before} {name}", command
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before} {name}")


def _described(words: str, command: Any) -> Iterator[str]:
    with command.make_context(words, [], resilient_parsing=True) as context:
        yield f".SS {_escaped(' '.join([words, *command.collect_usage_pieces(context)]))}"
    for paragraph in command.help.split("\n\n"):
        yield from (".PP", _escaped(" ".join(paragraph.split())))
    yield from _parameters(command)


def _parameters(command: Any) -> Iterator[str]:
    with command.make_context("", [], resilient_parsing=True) as context:
        records = (one.get_help_record(context) for one in command.params if not one.hidden)
        yield from _listed(record for record in records if record)


def _listed(rows: Any) -> Iterator[str]:
    for term, meaning in rows:
        yield from (".TP", f"\\fB{_escaped(term)}\\fR", _escaped(" ".join(meaning.split())))


def _clause(sentence: str) -> str:
    """As it stands after a dash."""
    return sentence[:1].lower() + sentence[1:].rstrip(".")


def _escaped(text: str) -> str:
    """As it stands: no word becomes a request, and hyphens can be copied."""
    plain = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain


def main() -> None:
    from thunderctl import __version__
    from thunderctl.cli.main import app

    sys.stdout.write(manual_page(app, __version__))


if __name__ == "__main__":
    main()
