"""CSV tables: the package's own, whose lines that begin with # are for readers, and files that people hand in."""

import csv
from collections.abc import Callable, Collection, Iterator
from importlib.resources import files
from io import StringIO

from planner.errors import SpecError


def table(name: str) -> list[dict[str, str]]:
    """Rows of `planner/data/<name>.csv`, as text."""
    text = files("planner").joinpath(f"data/{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


def rows_of(
    text: str, name: str, columns_asked: Callable[[Collection[str]], Collection[str]]
) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, row) of a file's text, cells that a row lacks at its end as empty; `name` is what messages call the file.

    `columns_asked` says which columns there must be, given the header. SpecError where one is missing, where a row has
    more values than the header, and for what is no CSV.
    """
    reader = csv.DictReader(StringIO(text, newline=""), restval="")
    try:
        header = [column.strip() for column in reader.fieldnames or ()]
        reader.fieldnames = header
        asked = columns_asked(header)
        if absent := [column for column in asked if column not in header]:
            raise SpecError(f"{name} have no column {', '.join(absent)}; expected {','.join(asked)}.")
        for row in reader:
            beyond: object = row.pop(None, None)
            if beyond and any(cell.strip() for cell in beyond):  # type: ignore[attr-defined]
                raise SpecError(
                    f"{name}, line {reader.line_num}: more values than the {len(header)} columns.",
                    hint="Put quotes around a value that has a comma in it.",
                )
            yield reader.line_num, row
    except csv.Error as error:
        raise SpecError(f"{name}, line {reader.line_num}: not CSV: {error}.") from error
