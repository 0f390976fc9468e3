"""How long an engine lets an answer be whose request states no limit: by its model, and by the flags it has.

A stream that another engine takes up must end where the first would have ended it, so somebody has to know. vLLM (0.32)
takes `max_new_tokens` from the model's generation_config.json, or where there is none from its config.json. What flags
could make of it would bind requests that do state a limit, or count what was said before, so they are refused.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from planner.errors import SpecError

AS_THE_MODEL_SAYS, AS_VLLM_SAYS = "auto", "vllm"
GENERATION_CONFIG = "--generation-config"
FILES = ("generation_config.json", "config.json")
LIMIT = "max_new_tokens"
NOT_EXACT = (LIMIT, "presence_penalty", "frequency_penalty")
"""Defaults of every request, under which what was said is not the same as a part of the prompt."""


def check_generation(extra_args: Sequence[str]) -> None:
    """Raises SpecError for flags under which a stream that breaks off could not go on exactly as it would have."""
    for argument in extra_args:
        for word in NOT_EXACT:
            if word in argument.replace("-", "_"):
                raise SpecError(
                    f"engine.extra_args has {argument}: {word} for every request.",
                    hint="Let the requests that want it state it: a stream of theirs that breaks off is then known.",
                )
    for source in _sources(extra_args):
        if source not in (AS_THE_MODEL_SAYS, AS_VLLM_SAYS):
            raise SpecError(
                f"engine.extra_args has {GENERATION_CONFIG} {source}; expected {AS_THE_MODEL_SAYS} or {AS_VLLM_SAYS}.",
                hint="Put the file into the model's folder.",
            )


def default_max_tokens(model: Path, extra_args: Sequence[str]) -> int | None:
    """Tokens that an engine gives a chat which states no limit; 0: as many as fit. None: `model` can't be read."""
    if [*_sources(extra_args)][-1:] == [AS_VLLM_SAYS]:
        return 0
    path = next((path for name in FILES if (path := model / name).exists()), None)
    try:
        limit = json.loads(path.read_bytes()).get(LIMIT) if path else None
        return None if path is None else int(limit or 0)
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _sources(extra_args: Sequence[str]) -> Iterator[str]:
    """Where the engine is told to take it from. vLLM's parser joins `=` and `_`, and completes flags."""
    for argument, following in pairwise((*extra_args, "")):
        flag, joined, value = argument.partition("=")
        flag = flag.replace("_", "-")
        if len(flag) > len("--") and GENERATION_CONFIG.startswith(flag) and flag.startswith("--"):
            yield value if joined else following
