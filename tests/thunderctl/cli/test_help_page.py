"""`thunderctl --help` on a terminal of eighty columns, and Ctrl-C."""

import pytest
import typer

from thunderctl.cli.help_page import SECTIONS, SHORT
from thunderctl.cli.main import app, main

LONGEST = 45


def test_every_command_is_in_one_section_with_a_line_that_fits(monkeypatch, capsys):
    shown = {name for name, one in typer.main.get_command(app).commands.items() if not one.hidden}
    assert set(SHORT) == shown
    assert sum(map(len, SECTIONS.values())) == len(SHORT)
    assert max(map(len, SHORT.values())) <= LONGEST
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["--help"])
    page = capsys.readouterr().out
    assert "..." not in page.partition("Look and plan")[2]
    assert max(map(len, page.splitlines())) <= 80
    assert page.index("  init") < page.index("  up") < page.index("  leases") < page.index("  keys")


def test_ctrl_c_in_any_command_says_that_nothing_is_lost(monkeypatch, capsys, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setenv("THUNDER_HOME", str(tmp_path))
    monkeypatch.setattr("thunderctl.history.entries", interrupted)
    with pytest.raises(SystemExit) as ended:
        main(["history"])
    assert ended.value.code == 130
    assert capsys.readouterr().err.startswith("Interrupted. Nothing is lost")
