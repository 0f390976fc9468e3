"""Shared by every test: which of the two environments a file runs in, their order, patience with examples, Ctrl-C."""

import gc
import importlib.util
import re
import signal
from collections.abc import Generator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

# No deadlines: how long an example takes says more of the machine than of it. `make soak` asks for the second profile.
settings.register_profile("patient", deadline=None, max_examples=30)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile("patient")

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # so begun in the background of a script: commands would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

IN_ENGINE_ENVIRONMENT = importlib.util.find_spec("vllm") is not None

LONGEST_FIRST = (
    "thunderctl/controller/test_real.py",
    "test_day.py",
    "test_rented.py",
    "test_own_hosts.py",
    "thunderctl/hosted/test_moving.py",
    "planner/test_plan.py",
    "thunderctl/controller/test_loop.py",
    "thunderctl/test_bring_up.py",
    "thunderctl/tui/test_app.py",
    "provisioners/test_contract.py",
    "provisioners/test_bootstrap.py",
    "provisioners/test_crash_points.py",
    "thunderctl/web/test_controls.py",
    "thunderctl/web/test_page.py",
    "runtime/relay/test_faults.py",
)
"""Files that take longest. Handed out last, one of them would keep one worker busy while all others are done."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays to the end: to look through it for what does not, again and again, is a
    quarter of collecting's time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Python's end would look through it all once more. Torch's modules want that, and complain without."""
    if not IN_ENGINE_ENVIRONMENT:
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files marked `engine_env` import torch and vLLM; the others import the control plane. Each env takes its own.

    Where `-m` asks for a mark that a file never names, the file is not imported: that takes longer than most tests. Of
    a folder without any file to take its conftest.py is not imported either, which is of the other environment.
    """
    asked = frozenset(marks_asked_for(config.option.markexpr))
    if collection_path.is_dir():
        return None if any(_is_taken(path, asked) for path in collection_path.rglob("test_*.py")) else True
    if collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
        return None
    return None if _is_taken(collection_path, asked) else True


@cache
def _is_taken(path: Path, asked: frozenset[str]) -> bool:
    text = path.read_text()
    here = ("mark.engine_env" in text) == IN_ENGINE_ENVIRONMENT
    named = set(re.findall(r"mark\.(\w+)", text)) | set(re.findall("hypothesis", text))  # which marks by itself
    return here and asked <= named


def marks_asked_for(expression: str) -> set[str]:
    """Those without which nothing fits an expression that is a chain of `and`, which the Makefile's are."""
    if " or " in expression or "(" in expression:
        return set()
    return {part for part in expression.split(" and ") if part.isidentifier()}
