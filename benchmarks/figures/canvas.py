"""A picture as SVG text: shapes by class, colours for light and dark pages, the same bytes from the same data."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from math import dist

LIGHT = {
    "paper": "#ffffff",
    "ink": "#1f2328",
    "soft": "#59636e",
    "rule": "#d8dee4",
    "wash": "#f6f8fa",
    "ours": "#0969da",
    "second": "#bc4c00",
    "third": "#1a7f37",
    "fourth": "#8250df",
    "bad": "#cf222e",
}
DARK = {
    "paper": "#0d1117",
    "ink": "#e6edf3",
    "soft": "#9198a1",
    "rule": "#30363d",
    "wash": "#151b23",
    "ours": "#58a6ff",
    "second": "#f0883e",
    "third": "#3fb950",
    "fourth": "#a371f7",
    "bad": "#ff7b72",
}
FONT = '-apple-system,BlinkMacSystemFont,"Segoe UI","Noto Sans",Helvetica,Arial,sans-serif'
CORNER, HEAD = 6, 9.0

Point = tuple[float, float]


def palette() -> str:
    """The colours as CSS variables; the page behind the picture is drawn too, so that either set can be read."""
    light, dark = (";".join(f"--{name}:{value}" for name, value in them.items()) for them in (LIGHT, DARK))
    return f"svg{{{light}}}\n@media (prefers-color-scheme:dark){{svg{{{dark}}}}}"


def shapes() -> str:
    """`c-NAME` is text or a shape of that colour, `l-NAME` a line, `w-NAME` a faint area, `o-NAME` an outline."""
    rules = [f"text{{font:13px {FONT};fill:var(--ink)}}", ".h{font-size:16px;font-weight:600}", ".s{font-size:12px}"]
    rules += [".b{font-weight:600}", ".e{text-anchor:end}", ".m{text-anchor:middle}", "path{fill:none}"]
    for name in LIGHT:
        rules.append(f".c-{name}{{fill:var(--{name})}}")
        rules.append(f".l-{name}{{stroke:var(--{name});stroke-width:2.2;stroke-linejoin:round;fill:none}}")
        rules.append(f".w-{name}{{fill:var(--{name});fill-opacity:.14}}")
        rules.append(f".o-{name}{{stroke:var(--{name});stroke-width:1.2}}")
    return "\n".join([*rules, ".thin{stroke-width:1}", ".dash{stroke-dasharray:2 4;stroke-linecap:round}"])


@dataclass(slots=True)
class Canvas:
    """What is drawn so far, in pixels from the upper left; `title` and `told` are for those who can't see it."""

    width: float
    height: float
    title: str
    told: str
    parts: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, words: str, kind: str = "") -> None:
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}"{_class(kind)}>{escape(words, quote=False)}</text>')

    def line(self, points: Iterable[Point], kind: str) -> None:
        steps = " ".join(f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(points))
        self.parts.append(f'<path d="{steps}"{_class(kind)}/>')

    def arrow(self, start: Point, end: Point, colour: str) -> None:
        """A line with a head at its end."""
        away = dist(start, end)
        dx, dy = (end[0] - start[0]) / away, (end[1] - start[1]) / away
        neck = (end[0] - HEAD * dx, end[1] - HEAD * dy)
        self.line([start, neck], f"l-{colour}")
        sides = [(neck[0] + side * dy * HEAD / 2, neck[1] - side * dx * HEAD / 2) for side in (1, -1)]
        self.area([end, *sides], f"c-{colour}")

    def area(self, points: Sequence[Point], kind: str) -> None:
        around = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polygon points="{around}"{_class(kind)}/>')

    def rect(self, x: float, y: float, width: float, height: float, kind: str, *, round_: float = 2) -> None:
        place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{round_:g}"'
        self.parts.append(f"<rect {place}{_class(kind)}/>")

    def dot(self, x: float, y: float, radius: float, kind: str) -> None:
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"{_class(kind)}/>')

    def heading(self, title: str, under: str) -> None:
        """What the picture says, and of what it says it."""
        self.text(20, 30, title, "h")
        self.text(20, 50, under, "s c-soft")

    @property
    def svg(self) -> str:
        size = f'viewBox="0 0 {self.width:g} {self.height:g}" width="{self.width:g}" height="{self.height:g}"'
        back = f'<rect x=".5" y=".5" width="{self.width - 1:g}" height="{self.height - 1:g}" rx="{CORNER}"'
        lines = (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="t d">',
            f'<title id="t">{escape(self.title, quote=False)}</title>',
            f'<desc id="d">{escape(self.told, quote=False)}</desc>',
            f"<style>\n{palette()}\n{shapes()}\n</style>",
            f'{back} class="c-paper"/>',
            *self.parts,
            "</svg>",
        )
        return "\n".join(lines) + "\n"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
