"""The page in sections, so that one can be measured again."""

from collections.abc import Mapping, Sequence

MARK = "## "


def sections_of(text: str) -> dict[str, list[str]]:
    """Lines by title, without blank ones around; what stands before the first title is left out."""
    found: dict[str, list[str]] = {}
    title = ""
    for line in text.splitlines():
        if line.startswith(MARK):
            title = line.removeprefix(MARK)
            found[title] = []
        elif title:
            found[title].append(line)
    return {title: _trimmed(lines) for title, lines in found.items()}


def written(
    header: Sequence[str], titles: Sequence[str], sections: Mapping[str, Sequence[str]], end: Sequence[str]
) -> str:
    """The page: header, those of the sections that there are, and the end."""
    made = [line for title in titles if title in sections for line in (f"{MARK}{title}", "", *sections[title], "")]
    return "\n".join([*header, "", *made, *end]) + "\n"


def _trimmed(lines: Sequence[str]) -> list[str]:
    return "\n".join(lines).strip("\n").split("\n")
