"""Which requests a replay answers exactly as one engine would have: prompt and emitted tokens given to another engine.

A list of what is known to be exact, not of what is known to be wrong: a word that vLLM learns tomorrow is refused until
somebody has thought about it. What depends on the output so far as output, rather than as context, is not exact
(presence and frequency penalties, bad words, a grammar, a parser's state); nor is what numbers or seeds the sampling.
A repetition penalty counts prompt and output alike.
"""

from typing import Any

EXACT = frozenset(
    {
        "model", "messages", "prompt", "stream", "stream_options", "user", "priority", "session_id", "request_id",
        "cache_salt", "max_tokens", "max_completion_tokens", "min_tokens", "temperature", "top_p", "top_k", "min_p",
        "repetition_penalty", "logit_bias", "allowed_token_ids", "stop", "stop_token_ids", "include_stop_str_in_output",
        "ignore_eos", "skip_special_tokens", "spaces_between_special_tokens", "add_special_tokens",
        "truncate_prompt_tokens", "truncation_side", "chat_template", "chat_template_kwargs", "add_generation_prompt",
        "continue_final_message", "documents", "reasoning_effort", "parallel_tool_calls", "stream_interval",
    }
)  # fmt: skip
"""Words that say what the prompt is, or act on each step by the tokens before it. Those that count are made smaller."""

LIMITS = ("max_tokens", "max_completion_tokens", "min_tokens")

WITHOUT_EFFECT: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "top_logprobs": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "include_reasoning": (True,),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none",),
}


def obstacle(document: dict[str, Any]) -> str:
    """What in a request rules a replay out, in words; empty when nothing does."""
    for word in document.keys() - EXACT:
        if not _is_without_effect(word, document[word], document):
            return f"{word} can't be replayed"
    for word in LIMITS:
        if not isinstance(document.get(word), int | None):
            return f"a {word} that is no integer can't be replayed"
    if document.get("seed") is not None and not _is_greedy(document):
        return "a seeded draw can't be replayed"
    prompt = document.get("prompt")
    if isinstance(prompt, list) and len(prompt) != 1 and not (prompt and isinstance(prompt[0], int)):
        return "several prompts can't be replayed"
    if _is_more_than_text(document.get("messages")):
        return "a prompt that is more than text can't be replayed"
    return ""


def _is_without_effect(word: str, value: object, document: dict[str, Any]) -> bool:
    if value is None or value is False or value in ("", [], {}) or value in WITHOUT_EFFECT.get(word, ()):
        return True
    return word == "seed" or (word == "tools" and document.get("tool_choice") == "none")


def _is_greedy(document: dict[str, Any]) -> bool:
    return document.get("temperature") == 0


def _is_more_than_text(messages: object) -> bool:
    """Whether a chat's messages are, parts of a kind that nobody thought of included."""
    for message in messages if isinstance(messages, list) else ():
        parts = message.get("content") if isinstance(message, dict) else None
        if isinstance(parts, list) and any(not isinstance(part, dict) or part.get("type") != "text" for part in parts):
            return True
    return False
