"""Text that the shipped model has not seen: the standard library's files that its training left out."""

import functools

from tokenizers import Tokenizer

from tests.engine.kv_world import MODEL
from tests.examples.training import train_module


@functools.cache
def tokens() -> list[int]:
    """All held-out files, one after another."""
    train = train_module()
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
