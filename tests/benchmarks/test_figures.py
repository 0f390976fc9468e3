"""Pictures are of their data: what lies in docs/images is what would be drawn now, and nothing hangs over its edge."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.figures.__main__ import CAST, DRAWN, IMAGES, pictures
from benchmarks.figures.axes import Panel, ticks
from benchmarks.figures.canvas import DARK, LIGHT, Canvas
from benchmarks.figures.recording import READ_S, WAIT_S, played
from benchmarks.figures.terminal import Terminal
from benchmarks.record_demo import without

SVG = "{http://www.w3.org/2000/svg}"
CHARTS = ["overview", *DRAWN]
WIDEST = {"s": 7.0, "h": 10.5, "": 7.6}
"""Pixels of a character in a wide font, by class."""
MOST_BYTES = 500_000


@pytest.fixture(scope="module")
def drawn():
    """By name. Not while tests are collected: each of the processes that share them collects them all."""
    return dict(pictures())


def test_each_picture_is_looked_at(drawn):
    assert list(drawn) == [*CHARTS, "demo"]


@pytest.mark.parametrize("name", [*CHARTS, "demo"])
def test_a_picture_in_docs_is_what_is_drawn_of_the_data_now(name, drawn):
    assert drawn[name] is not None, f"benchmarks/results has no data for {name}"
    assert (IMAGES / f"{name}.svg").read_text() == drawn[name], "draw it anew: make figures"
    assert len(drawn[name].encode()) < MOST_BYTES


@pytest.mark.parametrize("name", CHARTS)
def test_no_word_hangs_over_the_edge(name, drawn):
    svg = ElementTree.fromstring(drawn[name])
    width, height = float(svg.get("width")), float(svg.get("height"))
    for text in svg.iter(f"{SVG}text"):
        kinds = (text.get("class") or "").split()
        long = len(text.text) * next((WIDEST[kind] for kind in kinds if kind in WIDEST), WIDEST[""])
        start = float(text.get("x")) - long * (1.0 if "e" in kinds else 0.5 if "m" in kinds else 0.0)
        assert start >= 0, text.text
        assert start + long <= width, text.text
        assert 0 < float(text.get("y")) <= height, text.text


@pytest.mark.parametrize("name", CHARTS)
def test_a_picture_says_what_it_shows_and_has_colours_for_dark_pages(name, drawn):
    svg = ElementTree.fromstring(drawn[name])
    assert svg.find(f"{SVG}title").text
    assert len(svg.find(f"{SVG}desc").text) > 40
    assert "prefers-color-scheme:dark" in svg.find(f"{SVG}style").text


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_words_can_be_read_on_their_paper(colours):
    """Contrast of at least 4.5 to 1 (WCAG 2, AA)."""
    for name in set(colours) - {"paper", "rule", "wash"}:
        assert contrast(colours[name], colours["paper"]) >= 4.5, name


def contrast(one, other):
    dark, light = sorted(luminance(colour) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_ticks_are_round_and_reach_the_most():
    assert ticks(152.9) == [0, 50, 100, 150, 200]
    assert ticks(1.0) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(10) == [0, 2, 4, 6, 8, 10]


def test_a_panel_puts_values_where_they_belong():
    panel = Panel(10, 20, 100, 50, most_x=4, most_y=2)
    assert panel.at(0, 0) == (10, 70)
    assert panel.at(4, 2) == (110, 20)


def test_words_are_not_markup():
    canvas = Canvas(100, 100, "a < b", "of & and <")
    canvas.text(1, 1, "TP < 2 & more")
    assert [text.text for text in ElementTree.fromstring(canvas.svg).iter(f"{SVG}text")] == ["TP < 2 & more"]


def lines(terminal):
    return ["".join(letter for letter, _ in row).rstrip() for row in terminal.rows]


def test_a_terminal_keeps_what_scrolls_away_and_wraps_what_is_too_long():
    terminal = Terminal(4, 2)
    terminal.feed("abcdef\r\ng\r\nh")
    assert lines(terminal) == ["abcd", "ef", "g", "h"]
    assert terminal.top == 2


def test_a_row_that_is_redrawn_has_its_newest_words():
    terminal = Terminal(20, 4)
    terminal.feed("\x1b[?25l10 %\r\x1b[2K50 %\r\nbelow\x1b[1A\r\x1b[2K99 %\x1b[1B\r\nend")
    assert lines(terminal) == ["99 %", "below", "end"]


def test_colours_and_weights_are_kept_until_they_are_reset():
    terminal = Terminal(20, 4)
    terminal.feed("\x1b[1;32mok\x1b[0m \x1b[38;5;4mb\x1b[39m\x1b[2md\x1b[22m.")
    inks = [ink for _, ink in terminal.rows[0]]
    assert (inks[0].colour, inks[0].bold) == (2, True)
    assert (inks[3].colour, inks[3].bold) == (4, False)
    assert [ink.dim for ink in inks[3:]] == [False, True, False]


@pytest.mark.parametrize("unknown", ["\x1b[3;4H", "\x1bM", "\x1b[1J"])
def test_what_a_terminal_does_not_know_is_not_passed_over(unknown):
    with pytest.raises(ValueError, match="does not know"):
        Terminal(20, 4).feed(unknown)


def cast(*events):
    header = {"version": 2, "width": 40, "height": 5, "title": "a run"}
    return "\n".join(json.dumps(one) for one in (header, *([at, "o", text] for at, text in events)))


def test_a_recording_shortens_waits_and_tells_the_time_it_really_took():
    svg = played(cast((0.0, "\x1b[1;32m$\x1b[0m go\r\n"), (75.0, "done\r\n"), (75.5, "\x1b[1;32m$\x1b[0m again\r\n")))
    ElementTree.fromstring(svg)
    assert "real time 1:15" in svg
    assert float(re.search(r"animation:([\d.]+)s", svg)[1]) < 3 * WAIT_S + READ_S + 6
    assert svg.index(">go<") < svg.index(">done<") < svg.index(">again<")


def test_a_row_is_shown_while_it_was_so():
    svg = played(cast((0.0, "first"), (1.0, "\r\x1b[2Ksecond\r\n"), (2.0, "third\r\n")))
    shown = dict(re.findall(r'<g class="(k\d+)">\n<text[^>]*>(\w+)<', svg))
    end = {word: re.search(rf"@keyframes {key}{{(.*?)}}}}", svg)[1] for key, word in shown.items()}
    assert "opacity:0" in end["first"].partition("opacity:1")[2]
    assert "opacity:0" not in end["second"].partition("opacity:1")[2]


def test_another_name_of_a_folder_leaves_a_table_as_wide_as_it_was():
    shown = without("| /long/folder/file   | next |", {"/long/folder": "~"})
    assert shown == "| ~/file              | next |"
    assert without("in /long/folder.", {"/long/folder": "~"}).rstrip() == "in ~."


def test_the_recording_names_no_folder_of_the_machine_that_made_it():
    text = CAST.read_text()
    for folder in (str(CAST.parents[2]), str(Path.home()), "/tmp/", "/home/"):
        assert folder not in text
