"""Shared by every test: which of the two environments a file runs in, patience with examples, and Ctrl-C."""

import importlib.util
import signal
from pathlib import Path

from hypothesis import settings

settings.register_profile("patient", deadline=None)  # how long an example takes says more of the machine than of it
settings.load_profile("patient")

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # so begun in the background of a script: commands would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

IN_ENGINE_ENVIRONMENT = importlib.util.find_spec("vllm") is not None


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Files marked `engine_env` import torch and vLLM; the others import the control plane. Each env takes its own."""
    if collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
        return None
    wants_engine_environment = "mark.engine_env" in collection_path.read_text()
    return True if wants_engine_environment != IN_ENGINE_ENVIRONMENT else None
