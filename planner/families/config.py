"""`ModelConfig`: one Hugging Face `config.json`, read key by key. Errors name the model and the key."""

from collections.abc import Mapping
from dataclasses import dataclass
from reprlib import repr as brief
from typing import Any

from planner.errors import SpecError

MOST = 10**9
"""No count in a config is larger."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The keys and values of a config, and the name its model goes by. A key whose value is null counts as absent."""

    name: str
    values: Mapping[str, Any]

    def has(self, key: str) -> bool:
        return self.values.get(key) is not None

    def whole(self, key: str, default: int | None = None) -> int:
        """A whole number above 0; the default may be 0."""
        if default is not None and not self.has(key):
            return default
        if not self.has(key):
            raise self.wrong(f"has no {key}; expected a whole number.")
        value = self.values[key]
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
            raise self.wrong(f"has {key} {brief(value)}; expected a whole number from 1 to {MOST:.0e}.")
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        value = self.values.get(key) if self.has(key) else default
        if not isinstance(value, bool):
            raise self.wrong(f"has {key} {brief(value)}; expected true or false.")
        return value

    def words(self, key: str) -> list[str]:
        """A list of words; empty where the key is absent."""
        value = self.values.get(key) if self.has(key) else []
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise self.wrong(f"has {key} {brief(value)}; expected a list of words.")
        return value

    def section(self, key: str) -> "ModelConfig":
        """An object inside the config; empty where the key is absent."""
        inner = self.values.get(key) if self.has(key) else {}
        if not isinstance(inner, Mapping):
            raise self.wrong(f"has {key} {brief(inner)}; expected an object.")
        return ModelConfig(self.name, inner)

    def replaced(self, values: Mapping[str, Any]) -> "ModelConfig":
        return ModelConfig(self.name, {**self.values, **values})

    def with_defaults(self, defaults: Mapping[str, Any]) -> "ModelConfig":
        """What a family's configs leave out where it is as in the family's first model."""
        stated = {key: value for key, value in self.values.items() if value is not None}
        return ModelConfig(self.name, {**defaults, **stated})

    def wrong(self, what: str, hint: str = "") -> SpecError:
        return SpecError(f"The config of {self.name} {what}", hint=hint)
