"""The lab itself, once: real hosts, real engines, everything that fails in it."""

import shutil
import tempfile
from pathlib import Path

import pytest

from benchmarks.lab import leavings
from benchmarks.lab.__main__ import run
from tests.provisioners.networks import Unavailable

pytestmark = [pytest.mark.engine, pytest.mark.alone, pytest.mark.soak, pytest.mark.timeout(1800)]
CLIENTS_NOTICE = {"router killed"}
"""All of a router's clients are connected to it."""


@pytest.fixture
def folder():
    """Short: sockets below a host's folder have names of 108 characters at most."""
    made = Path(tempfile.mkdtemp(prefix="lab."))
    yield made
    shutil.rmtree(made)


def test_what_fails_costs_no_request_and_nothing_is_left(folder, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(folder))  # put back when it is over
    try:
        _, (failing, left), whole = run(folder, [4], 1, print)
    except Unavailable as reason:
        pytest.skip(f"no lab here: {reason}")
    assert left.title == leavings.TITLE
    assert whole, (failing.lines, left.lines)
    costly = {name for name, figures in failing.found.items() if figures["failed"]}
    assert costly <= CLIENTS_NOTICE, failing.lines
