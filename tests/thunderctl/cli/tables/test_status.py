"""The status as one frame: what is shown is what the document says, whatever its letters."""

import io
import json
from pathlib import Path

from rich.console import Console

from thunderctl.cli import output
from thunderctl.cli.tables.status import status_frame

EXAMPLE = json.loads((Path(__file__).parents[2] / "status_example.json").read_text())
ENDPOINT = "http://[fe80::1]:8000/v1"


def shown(*renderables):
    console = Console(file=io.StringIO(), width=200, highlight=False)
    for one in renderables:
        console.print(one)
    return console.file.getvalue()


def test_an_address_in_brackets_is_shown_whole():
    assert ENDPOINT in shown(*status_frame({**EXAMPLE, "endpoint": ENDPOINT}))
    assert ENDPOINT in shown(output.table(ENDPOINT, ("", ""), [("a" * 20, "b" * 20)])), "as the title of `bench` has it"
