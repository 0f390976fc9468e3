"""docs/licences.md names every dependency of every lock, and is what would be made of their metadata now."""

import re
from importlib.metadata import distribution

import pytest

from requirements.closure import needed
from requirements.licences import ENGINE, PAGE, licence_of, page, pinned


@pytest.mark.parametrize("lock", ["bootstrap", "control", "hosted", "engine", "engine-cuda", "benchmarks", "peers"])
def test_every_package_of_a_lock_has_a_row(lock):
    rows = set(re.findall(r"^\| (\S+) \| (\S+) \| \S", PAGE.read_text(), re.MULTILINE))
    assert set(pinned(lock)) <= rows


def test_the_page_is_of_what_is_installed():
    if not ENGINE.exists():
        pytest.skip("the engine environment (.venv-engine) is not there: make setup")
    assert PAGE.read_text() == page(), "make it anew: .venv/bin/python -m requirements.licences > docs/licences.md"


def test_agpl_comes_with_the_extra_vast_alone():
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    with_it = [section.splitlines()[0] for section in sections if re.search(r"^\| \S+ \| \S+ \| .*AGPL", section, re.M)]
    assert with_it == ["The extra `vast`"]


def test_a_licence_is_read_from_wherever_it_is_said():
    assert licence_of(distribution("typer")) == "MIT"
    assert licence_of(distribution("paramiko")).startswith("LGPL")
    assert licence_of(distribution("psutil")) == "BSD-3-Clause"


def test_a_requirement_leads_to_all_that_it_needs_and_to_extras_only_where_asked():
    plain, more = needed(["moto>=5"]), needed(["moto[server]>=5"])
    assert "botocore" in plain
    assert "flask" in more
    assert "flask" not in plain
    assert "pywin32" not in needed(["paramiko ; sys_platform == 'win32'"])
