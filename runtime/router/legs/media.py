"""What of a request is no text: pictures, sound, films, files. Of what tokens they become, their bytes say nothing."""

from collections.abc import Mapping
from typing import Any

PARTS = frozenset(
    {
        "image_url", "image_embeds", "image_pil", "audio_url", "audio_embeds", "input_audio", "video_url",
        "video_embeds", "prompt_embeds",
    }
)  # fmt: skip
"""vLLM's, which are known by the word alone too, in a part that states no type."""

TYPES = (*PARTS, "input_image", "input_file", "file", "image", "document")
"""With those of Responses and Messages. What calls and results of tools say is text."""


def media_bytes(document: Mapping[str, Any]) -> int:
    """How much of a request's body is media, wherever in its messages or its input."""
    found = 0
    left = [(document.get(word), False) for word in ("messages", "input")]
    while left:
        value, is_media = left.pop()
        if isinstance(value, str):
            found += len(value) if is_media else 0
        elif isinstance(value, list):
            left += [(one, is_media) for one in value]
        elif isinstance(value, dict):
            is_media = is_media or value.get("type") in TYPES or not PARTS.isdisjoint(value)
            left += [(one, is_media) for one in value.values()]
    return found
