"""Text that the shipped model has not seen: the standard library's files that its training left out."""

import functools
import importlib.util
import sys
from types import ModuleType

from tokenizers import Tokenizer

from tests.engine.kv_world import MODEL


@functools.cache
def tokens() -> list[int]:
    """All held-out files, one after another."""
    train = _train_module()
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    texts = [text for path, text in sorted(train.stdlib_sources().items()) if train.is_held_out(path)]
    return [token for text in texts for token in tokenizer.encode(text).ids]


def prompts(lengths: list[int], *, skip: int = 0) -> list[list[int]]:
    """Prompts that share no text, each of so many tokens; `skip` leaves out what other tests use."""
    stream, at, made = tokens(), skip, []
    for length in lengths:
        made.append(stream[at : at + length])
        at += length
    assert len(made[-1]) == lengths[-1], f"{len(stream)} held-out tokens are not enough for {at}"
    return made


def _train_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_llama_train", MODEL / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
