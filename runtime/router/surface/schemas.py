"""What is posted to engines, as JSON schemas by path: what clients say most, for the router's OpenAPI document."""

from typing import Any

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
FLAG: Json = {"type": ["boolean", "null"]}
TOKENS: Json = {"type": ["integer", "null"], "minimum": 1, "maximum": 1_000_000}
SHARE: Json = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
PENALTY: Json = {"type": ["number", "null"], "minimum": -2, "maximum": 2}
OBJECT: Json = {"type": "object"}
OBJECTS: Json = {"type": "array", "items": OBJECT}
TOKEN_IDS: Json = {"type": "array", "items": {"type": "integer", "minimum": 0}}
TEXTS: Json = {"type": "array", "items": TEXT}
STOP: Json = {"anyOf": [TEXT, TEXTS, {"type": "null"}]}
CONTENT: Json = {"anyOf": [TEXT, OBJECTS]}

SAMPLING: Json = {
    "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2},
    "top_p": SHARE,
    "stream": FLAG,
}
OPENAI: Json = {
    **SAMPLING,
    "n": {"type": ["integer", "null"], "minimum": 1, "maximum": 128},
    "max_tokens": TOKENS,
    "stop": STOP,
    "seed": {"type": ["integer", "null"], "minimum": -(2**63), "maximum": 2**63 - 1},
    "presence_penalty": PENALTY,
    "frequency_penalty": PENALTY,
    "logit_bias": {"type": ["object", "null"], "additionalProperties": {"type": "number"}},
    "stream_options": {"type": ["object", "null"], "properties": {"include_usage": FLAG}},
    "user": TEXT,
}


def _object(required: list[str], properties: Json) -> Json:
    return {"type": "object", "required": required, "properties": {"model": TEXT, **properties}}


def _message(*roles: str) -> Json:
    said = {"role": {"enum": list(roles)}, "content": CONTENT}
    return {"type": "array", "minItems": 1, "items": {"type": "object", "required": list(said), "properties": said}}


BODIES: Json = {
    "v1-chat-completions": _object(
        ["messages"],
        {
            **OPENAI,
            "messages": _message("system", "user", "assistant", "tool"),
            "max_completion_tokens": TOKENS,
            "logprobs": FLAG,
            "top_logprobs": {"type": ["integer", "null"], "minimum": 0, "maximum": 20},
            "tools": OBJECTS,
            "tool_choice": {"anyOf": [{"enum": ["none", "auto", "required"]}, OBJECT]},
            "response_format": OBJECT,
        },
    ),
    "v1-completions": _object(
        ["prompt"],
        {
            **OPENAI,
            "prompt": {"anyOf": [TEXT, TEXTS, TOKEN_IDS, {"type": "array", "items": TOKEN_IDS}]},
            "echo": FLAG,
            "logprobs": {"type": ["integer", "null"], "minimum": 0, "maximum": 20},
            "suffix": {"type": ["string", "null"]},
        },
    ),
    "v1-responses": _object(
        ["input"],
        {
            **SAMPLING,
            "input": CONTENT,
            "instructions": {"type": ["string", "null"]},
            "max_output_tokens": TOKENS,
            "tools": OBJECTS,
            "background": {"enum": [False, None]},
            "previous_response_id": {"type": "null"},
        },
    ),
    "v1-messages": _object(
        ["messages", "max_tokens"],
        {
            **SAMPLING,
            "messages": _message("user", "assistant"),
            "max_tokens": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
            "system": CONTENT,
            "stop_sequences": TEXTS,
            "tools": OBJECTS,
        },
    ),
    "v1-messages-count_tokens": _object(
        ["messages"], {"messages": _message("user", "assistant"), "system": CONTENT, "tools": OBJECTS}
    ),
    "tokenize": {
        "anyOf": [
            _object(["prompt"], {"prompt": TEXT, "add_special_tokens": FLAG}),
            _object(["messages"], {"messages": _message("system", "user", "assistant", "tool")}),
        ]
    },
    "detokenize": _object(["tokens"], {"tokens": TOKEN_IDS}),
}
