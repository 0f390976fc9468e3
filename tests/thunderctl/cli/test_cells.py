"""Cells of narrow tables: names fold behind their hyphens, and numbers stay whole."""

from io import StringIO
from itertools import pairwise

import pytest
from rich.console import Console

from thunderctl.cli.cells import breaks
from thunderctl.cli.output import table

NAME = "vast-1xA100-PCIE-80GB-on-demand"


def drawn(width, *columns, rows, **options):
    console = Console(file=StringIO(), width=width)
    console.print(table("Title", columns, rows, **options))
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        (NAME, 40, [NAME]),
        (NAME, 22, ["vast-1xA100-PCIE-80GB-", "on-demand"]),
        (NAME, 12, ["vast-1xA100-", "PCIE-80GB-", "on-demand"]),
        ("a-b", 1, ["a-", "b"]),
        ("short and aws-p5.48xlarge-use2-az1", 16, ["short and aws-p5.48xlarge-", "use2-az1"]),
        ("nohyphensatall", 5, ["nohyphensatall"]),
        ("--", 1, ["--"]),
        ("", 1, [""]),
    ],
)
def test_a_long_word_goes_on_behind_what_joins_its_parts(text, width, lines):
    ends = [0, *breaks(text, width), len(text)]
    assert [text[begin:end] for begin, end in pairwise(ends)] == lines


def test_in_eighty_columns_names_fold_between_words_and_prices_stay_whole():
    row = (NAME, "vast", "Oklahoma, US", "1 x A100-PCIE-80GB", "on-demand", "1234.870", "0.870")
    shown = drawn(
        80, "offer", "provider", "region", "GPUs", "kind", "$/h", "$/GPU/h", rows=[row], right=("$/h", "$/GPU/h")
    )
    assert max(map(len, shown.splitlines())) <= 80
    assert {"1234.870", "0.870"} <= set(shown.split())
    firsts = [line[1:].split("  ")[0] for line in shown.splitlines()]
    pieces = [first for first in firsts if first and first in NAME]
    assert "".join(pieces) == NAME
    assert all(piece.endswith("-") for piece in pieces[:-1])


def test_a_table_without_headings_has_no_empty_head():
    shown = drawn(80, "", "", rows=[("requests", "12")])
    assert shown.split() == ["Title", "requests", "12"]
    assert len(shown.rstrip().splitlines()) == 2


def test_markup_is_kept_where_a_cell_folds():
    shown = drawn(9, "offer", rows=[("[bold]card[/]-with-a-name",)], markup=True)
    assert "[bold]" not in shown
    assert "".join(shown.split()).endswith("card-with-a-name")
