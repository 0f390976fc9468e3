"""Which replicas have the KV of a prompt's beginning, as far as the router can know: those it sent the same before.

The text of a prompt is hashed in blocks, each with all that lies before it. A block is an eighth of what lies before
it, at least 512 characters: a prompt has some dozens of them however long it is, and the part that two prompts share is
known to within an eighth. Nothing is tokenized. Hashes differ from process to process, and nothing of a prompt can be
read from one. What an engine has forgotten meanwhile is not known here: a wrong guess costs the prompt's computing.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SESSION = "X-Session-Id"
SALT = "cache_salt"
SESSION_WORDS = ("prompt_cache_key", "user")
"""How clients name a conversation. A name is a claim that nobody checked: it counts as one block."""

BLOCK = 512
GROWTH = 8
LONGEST = 1 << 20
CHARACTERS_PER_TOKEN = 4
"""A block of a prompt that is given as token ids has this many times fewer of them."""

KEPT = 32_768
"""Blocks that are remembered, at about 200 bytes each: some 8,000 conversations of 2 KiB, or 1,000 of 32 KiB."""

Blocks = Sequence[tuple[int, int]]
"""The beginnings of a prompt, the longest last: a hash, and how many characters it stands for."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a request says of its prompt, before anybody tokenized it. `session`: as its headers name it."""

    document: Mapping[str, Any] = field(default_factory=dict)
    size_bytes: int = 0
    session: str = ""

    @property
    def ids(self) -> Sequence[int] | None:
        """The prompt, where it is given as token ids."""
        prompt = self.document.get("prompt")
        return prompt if isinstance(prompt, list) and prompt and isinstance(prompt[0], int) else None

    def blocks(self) -> Blocks:
        """Raises nothing, whatever the client wrote."""
        ids = self.ids
        content: str | Sequence[int] = _text(self.document) if ids is None else ids
        width = 1 if ids is None else CHARACTERS_PER_TOKEN
        salt = self._salt
        found, start, hashed = self._named(salt), 0, hash(salt) if salt else 0
        for bound in BOUNDS:
            end = bound // width
            if end > len(content):
                break
            piece = content[start:end]
            try:
                hashed = hash((hashed, piece if isinstance(piece, str) else tuple(piece)))
            except TypeError:  # a list in a list of ids: an engine will refuse it
                break
            found.append((hashed, bound))
            start = end
        return found

    @property
    def _salt(self) -> str:
        """Engines share no KV between prompts of different salts."""
        salt = self.document.get(SALT)
        return salt if isinstance(salt, str) else ""

    def _named(self, salt: str) -> list[tuple[int, int]]:
        key, user = SESSION_WORDS
        for name in (self.session, self.document.get(key), self.document.get(user)):
            if name and isinstance(name, str):
                return [(hash((SESSION, salt, name)), BLOCK)]
        return []


class PrefixTable:
    """Who has what, of the blocks that were met last."""

    def __init__(self, replicas: Sequence[str], kept: int = KEPT) -> None:
        self._replicas = replicas
        self._bits = {replica: 1 << place for place, replica in enumerate(replicas)}
        self._kept = kept
        self._holders: OrderedDict[int, int] = OrderedDict()

    def held(self, blocks: Blocks) -> dict[str, int]:
        """By replica: the characters at the beginning of a prompt whose KV it should have."""
        found: dict[str, int] = {}
        known = 0
        for hashed, characters in reversed(blocks):
            new = self._holders.get(hashed, 0) & ~known
            known |= new
            while new:
                lowest = new & -new
                found[self._replicas[lowest.bit_length() - 1]] = characters
                new ^= lowest
        return found

    def note(self, blocks: Blocks, replicas: Sequence[str]) -> None:
        """These have the KV of this prompt, or will."""
        holders, bits = self._holders, 0
        for replica in replicas:
            bits |= self._bits[replica]
        for hashed, _ in blocks:
            holders[hashed] = holders.get(hashed, 0) | bits
            holders.move_to_end(hashed)
        while len(holders) > self._kept:
            holders.popitem(last=False)

    def inherit(self, before: "PrefixTable") -> None:
        """Know what another table does of the replicas that are in both."""
        places = [(old, self._bits[replica]) for replica, old in before._bits.items() if replica in self._bits]
        moved: dict[int, int] = {}
        for hashed, old in before._holders.items():
            if old not in moved:
                moved[old] = sum(new for place, new in places if old & place)
            if bits := moved[old]:
                self._holders[hashed] = bits


def _bounds() -> Iterator[int]:
    end = BLOCK
    while end <= LONGEST:
        yield end
        end += max(BLOCK, end // GROWTH // BLOCK * BLOCK)


BOUNDS = tuple(_bounds())


def _text(document: Mapping[str, Any]) -> str:
    """What a prompt's text is made of, in order. Images, tools and templates are left out."""
    if isinstance(prompt := document.get("prompt"), str):
        return prompt
    spoken = document.get("messages") or document.get("input")
    if isinstance(spoken, str):
        return spoken
    return "\0".join([_said(message) for message in spoken]) if isinstance(spoken, list) else ""


def _said(message: Any) -> str:
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        return content
    parts = [part.get("text") for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    return "".join([text for text in parts if isinstance(text, str)])
