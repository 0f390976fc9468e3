"""What engines can be asked, by path. Completions may be split over two replicas; the rest goes whole to one.

What is passed whole runs on a replica that decodes and prefills for itself: vLLM's Responses and Messages APIs build
their prompts in ways that a prefill leg would have to copy, and the router learns nothing of a stream it could replay.
"""

from dataclasses import dataclass
from enum import StrEnum


class Dialect(StrEnum):
    """Whose words a path's errors and events are in."""

    OPENAI = "openai"
    RESPONSES = "responses"
    ANTHROPIC = "anthropic"


@dataclass(frozen=True, slots=True)
class Api:
    """One path that is posted to. `splits`: over a prefill and a decode replica. `generates`: tokens, so that it counts
    as traffic of the plan's workload."""

    path: str
    dialect: Dialect = Dialect.OPENAI
    splits: bool = False
    generates: bool = True


CHAT = Api("/v1/chat/completions", splits=True)
COMPLETIONS = Api("/v1/completions", splits=True)
RESPONSES = Api("/v1/responses", Dialect.RESPONSES)
MESSAGES = Api("/v1/messages", Dialect.ANTHROPIC)
COUNT_TOKENS = Api("/v1/messages/count_tokens", Dialect.ANTHROPIC, generates=False)
TOKENIZE = Api("/tokenize", generates=False)
DETOKENIZE = Api("/detokenize", generates=False)

APIS = {api.path: api for api in (CHAT, COMPLETIONS, RESPONSES, MESSAGES, COUNT_TOKENS, TOKENIZE, DETOKENIZE)}


def dialect_of(path: str) -> Dialect:
    """The dialect that whoever asks at a path reads, one that is not served included."""
    if path.startswith(MESSAGES.path):
        return Dialect.ANTHROPIC
    api = APIS.get(path)
    return api.dialect if api else Dialect.OPENAI
