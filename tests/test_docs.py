"""The pages that name parts of the code name all of them."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("planner", "provisioners", "runtime", "thunderctl")


def modules():
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.stat().st_size and "versions" not in path.parts:
                yield path.relative_to(ROOT)


@pytest.mark.parametrize("path", list(modules()), ids=str)
def test_every_module_says_what_it_holds_and_is_in_the_architecture_page(path):
    assert ast.get_docstring(ast.parse((ROOT / path).read_text()))
    name = path.relative_to(path.parts[0]).as_posix()
    assert f"| `{name}` |" in (ROOT / "docs" / "architecture.md").read_text()


@pytest.mark.parametrize(
    "page", sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")]), ids=lambda page: page.name
)
def test_links_between_pages_lead_somewhere(page):

    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
