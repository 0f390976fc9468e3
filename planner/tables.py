"""The package's own CSV tables, whose lines that begin with # are for readers."""

import csv
from importlib.resources import files


def table(name: str) -> list[dict[str, str]]:
    """Rows of `planner/data/<name>.csv`, as text."""
    text = files("planner").joinpath(f"data/{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
