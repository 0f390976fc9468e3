"""Every module with what it says of itself: `.venv/bin/python -m docs.modules > docs/modules.md`."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "planner": "pure: words and decisions",
    "provisioners": "one folder a provider, and what all share",
    "runtime": "the processes, and what crosses between them",
    "thunderctl": "people and wiring",
}
ABOUT = """\
# Modules, one line each

Written from the modules themselves by `.venv/bin/python -m docs.modules > docs/modules.md`; a test holds it to
them. What they do together is in the [architecture page](architecture.md).
"""


def modules(package: str) -> Iterator[Path]:
    """The modules of a package, its own files first, then folder by folder; those that hold something."""
    found = (path for path in (ROOT / package).rglob("*.py") if path.stat().st_size and "versions" not in path.parts)
    return iter(sorted(found, key=lambda path: (len(path.relative_to(ROOT).parts) > 2, path.parent, path.name)))


def said(path: Path) -> str:
    """The first paragraph of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(docstring.split("\n\n")[0].split()).rstrip(".").replace("|", "\\|")


def page() -> str:
    """The page."""
    lines = [ABOUT]
    for package, about in PACKAGES.items():
        lines += [f"## {package}/: {about}", "", "| module | holds |", "|---|---|"]
        lines += [f"| `{path.relative_to(ROOT / package)}` | {said(path)} |" for path in modules(package)]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(page(), end="")
