"""What is said on a terminal while markets are asked, and that nothing is said elsewhere."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from thunderctl.cli import output
from thunderctl.cli.asking import asking_line
from thunderctl.spec.spec import parse_spec

NAMED = '[markets]\nproviders = ["aws", "vast", "local", "ssh"]\n'


@pytest.fixture
def said(monkeypatch):
    """What stderr shows while that spec's markets are asked, and one of them has something to say."""

    def show(text: str, offers: Path | None = None, *, is_terminal: bool = True) -> str:
        console = Console(file=StringIO(), force_terminal=is_terminal, width=100, highlight=False)
        monkeypatch.setattr(output, "narrator", lambda: console)
        with asking_line(parse_spec(text), offers) as narrate:
            narrate("vast has [no] live offers")
        return console.file.getvalue()

    return show


def test_a_terminal_says_who_is_asked_and_for_how_long(said):
    shown = said(NAMED)
    assert "asking aws, vast for live offers (at most 30 s)" in shown
    assert "vast has [no] live offers" in shown


@pytest.mark.parametrize(
    ("text", "offers", "is_terminal"),
    [(NAMED, None, False), (NAMED, Path("offers.csv"), True), ('[markets]\nproviders = ["local", "ssh"]', None, True)],
    ids=["no terminal", "a file has the offers", "nobody beyond this host is asked"],
)
def test_nothing_more_is_said_where_nobody_waits(said, text, offers, is_terminal):
    assert said(text, offers, is_terminal=is_terminal).strip() == "vast has [no] live offers"
