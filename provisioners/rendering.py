"""Shell scripts from Jinja2 templates, values quoted by the filter `sh`."""

import shlex
from typing import Any

from jinja2 import Environment, StrictUndefined


def rendered(template: str, **values: Any) -> str:
    environment = Environment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
    environment.filters["sh"] = lambda value: shlex.quote(str(value))
    return environment.from_string(template).render(**values)
