"""The README quotes no figure that the page it links does not have."""

import re

import pytest

from tests.pages import README, ROOT

ROWS = re.findall(
    r"^\| ([^|`]+) \| ([^|]*\*\*[^|]*) \| ([^|]*benchmarks/results[^|]*) \|$", README.read_text(), re.MULTILINE
)


def test_there_are_figures():
    assert len(ROWS) >= 8


@pytest.mark.parametrize(("what", "figures", "where"), ROWS, ids=[row[0] for row in ROWS])
def test_every_figure_of_the_readme_stands_in_the_page_that_it_links(what, figures, where):
    """As a number of its own, written alike."""
    pages = "\n".join((ROOT / path).read_text() for path in re.findall(r"\]\(([^)]+)\)", where))
    known = set(re.findall(r"\d+(?:[.,]\d+)*", pages))
    assert {number for number in re.findall(r"\*\*(\d+(?:[.,]\d+)*)\*\*", figures) if number not in known} == set(), (
        what
    )
