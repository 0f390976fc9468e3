"""`thunderctl init`: write a commented `thunder.toml`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from planner.errors import Refused
from thunderctl.cli import output


class InitProvider(StrEnum):
    LOCAL = "local"
    VAST = "vast"
    AWS = "aws"
    RUNPOD = "runpod"
    SSH = "ssh"


def init(
    provider: Annotated[InitProvider, typer.Option(help="Where machines will come from.")] = InitProvider.VAST,
    path: Annotated[Path, typer.Option("--spec", help="Where to write it.")] = Path("thunder.toml"),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Overwrite what is there.")] = False,
) -> None:
    """Write a commented thunder.toml, with every key and its default.

    Example: thunderctl init --provider local
    """
    from importlib.resources import files

    from jinja2 import Environment, StrictUndefined

    if path.exists() and not yes:
        raise Refused(
            f"{path} is there already; it was left as it is.", hint="Name another file with --spec, or overwrite: --yes"
        )
    template = files("templates").joinpath("thunder.toml.j2").read_text(encoding="utf-8")
    text = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    output.write_file(path, text.from_string(template).render(provider=provider.value))
    output.narrate(f"Wrote {path}. Next: thunderctl plan")
