"""The pages that name parts of the code name all of them."""

import re
import shlex

import pytest

from docs.modules import PACKAGES, modules, page, said
from tests.pages import PAGES, ROOT, SHELL, blocks
from tests.test_guides import GUIDES, check


@pytest.mark.parametrize("path", [path for package in PACKAGES for path in modules(package)], ids=str)
def test_every_module_says_what_it_holds(path):
    assert said(path)


def test_the_page_of_modules_is_what_they_say():
    assert (ROOT / "docs" / "modules.md").read_text() == page(), "python -m docs.modules > docs/modules.md"


def shown_commands(page):
    """What a page shows to be typed: lines of its code blocks that begin with `thunderctl`, or `$ thunderctl`."""
    for block in blocks(page, *SHELL):
        for line in block.replace("\\\n", " ").splitlines():
            if found := re.match(r"(?:\$ )?thunderctl (\S.*)", line):
                yield found[1]


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, id=f"{page.name}: {command}")
        for page in PAGES
        if page not in GUIDES  # which tests/test_guides.py reads closer
        for command in shown_commands(page)
    ],
)
def test_every_command_that_a_page_shows_is_one(command, tmp_path, monkeypatch):
    """It is parsed as the command line would be, and not run; files that it names are there."""
    monkeypatch.chdir(tmp_path)
    check([made(word, tmp_path) for word in shlex.split(command, comments=True)])


def made(word, folder):
    """A word of a command; the file that it names, made below `folder`, if it names one."""
    if not word.endswith((".json", ".csv", ".toml", ".png")):
        return word
    path = folder / word.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return str(path)
