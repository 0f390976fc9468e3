"""The script that trained the shipped model, as a module."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

TINY_LLAMA = Path(__file__).resolve().parents[2] / "examples" / "tiny-llama"


def train_module() -> ModuleType:
    """A dataclass needs it registered while it is defined. No byte code is left beside it: the folder is a model's."""
    spec = importlib.util.spec_from_file_location("tiny_llama_train", TINY_LLAMA / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = writes
    return module
