"""Bytes of a log become lines that may be printed on anybody's terminal."""

from thunderctl.logs.lines import LONGEST, Lines, printable


def test_a_line_waits_for_its_end_wherever_it_is_cut():
    text = "eins\nzwei äöü\ndrei".encode()
    for cut in range(len(text)):
        lines = Lines()
        assert [*lines.feed(text[:cut]), *lines.feed(text[cut:])] == ["eins", "zwei äöü"]
        assert lines.rest() == ["drei"]
        assert lines.rest() == []


def test_orders_to_the_terminal_are_left_out():
    assert printable(b"\x1b[31mred\x1b[0m \x1b]0;title\x07and\x1b(Bplain\ttab") == "red 0;titleand(Bplain\ttab"
    assert printable(b"\xc2\x9b2J\x00bell\x07") == "2Jbell"
    assert printable(b"caf\xe9") == "caf\N{REPLACEMENT CHARACTER}"


def test_of_a_progress_bar_its_last_state_is_left():
    assert printable(b"10%\r50%\r100% done\r") == "100% done"


def test_a_line_without_an_end_is_shown_once_it_is_long():
    lines = Lines()
    assert lines.feed(b"x" * LONGEST) == []
    assert lines.feed(b"y") == ["x" * LONGEST + "y"]
