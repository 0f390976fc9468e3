"""Shell scripts from Jinja2 templates, values quoted by the filter `sh`."""

import shlex
from functools import lru_cache
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

KEPT = 64
"""Compiled templates: more than there are. What is wanted of a host is rendered anew with every look at it."""


def rendered(template: str, **values: Any) -> str:
    """The template's text with these values. One that it names and that is missing is an error."""
    return _compiled(template).render(**values)


@lru_cache(maxsize=KEPT)
def _compiled(template: str) -> Template:
    environment = Environment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
    environment.filters["sh"] = lambda value: shlex.quote(str(value))
    return environment.from_string(template)
