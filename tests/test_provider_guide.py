"""docs/adding-a-provider.md says what is so: its files are there, and are all of them; its commands run something."""

import re
import shlex
from pathlib import Path

import pytest

from planner.market import LEASABLE
from tests.provisioners.lease_worlds import WORLDS

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "adding-a-provider.md").read_text()
FOLDERS = ("benchmarks", "docs", "examples", "planner", "provisioners", "templates", "tests", "thunderctl")
NAMED = sorted(set(re.findall(rf"\b(?:{'|'.join(FOLDERS)})/[\w/.-]+\w/?", GUIDE)))
PYTEST = [line for line in GUIDE.splitlines() if line.startswith("python -m pytest ")]


@pytest.mark.parametrize("name", NAMED)
def test_every_file_that_is_named_is_there(name):
    assert (ROOT / name).exists()


def test_the_example_is_named_whole_and_has_as_many_lines_as_is_said():
    files = sorted((ROOT / "provisioners" / "runpod").glob("*.py"))
    assert {str(path.relative_to(ROOT)) for path in files} <= set(NAMED)
    lines = sum(len(path.read_text().splitlines()) for path in files)
    assert f"{lines} lines" in GUIDE
    assert lines < 300


@pytest.mark.parametrize("command", PYTEST)
def test_every_test_of_the_checklist_is_there(command):
    words = shlex.split(command)[3:]
    selected = words[words.index("-k") + 1] if "-k" in words else ""
    for word in words:
        assert not word.startswith("tests/") or (ROOT / word).is_file()
    assert not selected or selected in WORLDS


def test_every_provider_that_is_rented_from_has_passed_it():
    assert WORLDS.keys() | {"ssh"} >= LEASABLE
    assert "python -m benchmarks.leases --world runpod" in GUIDE
    assert (ROOT / "benchmarks" / "leases.py").is_file()
