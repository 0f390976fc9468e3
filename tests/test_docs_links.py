"""Links of all pages lead somewhere, and every page of the documentation can be found from its index."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.pages import DOCS, PAGES, README, RESULTS, anchors, links, named

INDEX = DOCS / "README.md"
A_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9-]+)+")


def problems(page: Path) -> Iterator[str]:
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme:
            if parts.scheme != "https" or not A_HOST.fullmatch(parts.hostname or ""):
                yield f"{link} is no address of a page; expected https://host/path"
            continue
        target = (page.parent / parts.path).resolve() if parts.path else page
        if not target.exists():
            yield f"{link} leads nowhere"
        elif parts.fragment and parts.fragment not in anchors(target):
            yield f"{link}: {target.name} has no such heading; it has {', '.join(sorted(anchors(target)))}"


@pytest.mark.parametrize("page", [*PAGES, *RESULTS], ids=named)
def test_links_lead_somewhere(page):
    """Files and headings of ours are there; other people's addresses are only held to their form."""
    assert list(problems(page)) == []


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("gone.md", "leads nowhere"),
        ("other.md#no-such", "has no such heading; it has again, again-1, two-words-and-a-dash"),
        ("#no-such", "has no such heading"),
        ("http://example.org/", "is no address"),
        ("https://example/", "is no address"),
    ],
)
def test_a_link_that_leads_nowhere_is_noticed(link, said, tmp_path):
    (tmp_path / "other.md").write_text("# Two words, and a dash…\n## Again\n## Again\n```\n# no heading\n```\n")
    page = tmp_path / "page.md"
    page.write_text(f"Look [here]({link}), not at `[there](nowhere.md)`.\n")
    [problem] = problems(page)
    assert said in problem


def test_a_heading_and_its_second_of_the_same_name_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# What to do when…\n## `up`, again\n## `up`, again\n[a](#what-to-do-when) [b](#up-again-1)\n")
    assert list(problems(page)) == []


def linked_from(page: Path) -> set[Path]:
    return {(page.parent / link.partition("#")[0]).resolve() for link in links(page) if not urlsplit(link).scheme}


def test_every_page_is_in_the_index_and_every_guide_in_the_readme():
    pages = {page.resolve() for page in PAGES if page.is_relative_to(DOCS) and page.parent.name != "decisions"}
    assert {named(page) for page in pages - {INDEX} - linked_from(INDEX)} == set()
    guides = {page for page in pages if page.parent.name == "guides"}
    assert {named(page) for page in guides - linked_from(README)} == set()
    assert INDEX in linked_from(README)
