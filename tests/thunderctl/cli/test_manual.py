"""The manual page is made from the command line, and what lies in docs/ is what would be made now."""

import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from thunderctl import __version__
from thunderctl.cli.main import app
from thunderctl.cli.manual import manual_page

PAGE = Path(__file__).parents[3] / "docs" / "thunderctl.1"


def test_the_page_in_docs_is_of_this_command_line():
    made = manual_page(app, __version__)
    assert PAGE.read_text() == made, "make it anew: .venv/bin/python -m thunderctl.cli.manual > docs/thunderctl.1"


def test_it_describes_every_command_and_option_and_no_hidden_one():
    made = manual_page(app, __version__).replace("\\-", "-")
    program = typer.main.get_command(app)
    for name, command in program.commands.items():
        assert (f".SS thunderctl {name}" in made) != command.hidden
        for one in command.params if not command.hidden else ():
            assert one.hidden or one.opts[0] in made or one.param_type_name == "argument"
    assert ".SS thunderctl keys create" in made


def test_a_word_at_the_start_of_a_line_is_no_request():
    program = typer.Typer()

    @program.command("first", help=".so of a page, 'and' a \\ and - too")
    @program.command("second")
    def _() -> None:
        """.TH is what it begins with."""

    @program.callback(help="A program.")
    def _() -> None: ...

    lines = manual_page(program, "1").splitlines()
    assert "\\&.so of a page, 'and' a \\e and \\- too" in lines
    assert "\\&.TH is what it begins with." in lines


def test_it_is_roff_without_a_fault():
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not installed: apt-get install groff-base")
    done = subprocess.run([groff, "-man", "-Tutf8", "-K", "utf8", "-ww", PAGE], capture_output=True, check=True)
    assert done.stderr == b""
    assert b"plan" in done.stdout
