"""Documents → HTML. Everything that comes from elsewhere is escaped: names, errors and events are others' words."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from thunderctl import words
from thunderctl.status.adapting_words import thought_of
from thunderctl.web.assets import address_of
from thunderctl.web.charts import charts_of
from thunderctl.web.comparison import Comparison
from thunderctl.web.figures import figures_of, held_to_plan, minute, projected_usd, rps
from thunderctl.web.fleet import fleet_of
from thunderctl.web.seen import Seen

STATES = {"serving": "●", "starting": "◐", "degraded": "▲", "stopping": "■", "absent": "○"}
"""What a colour says of a deployment is said by a glyph as well."""
THEMES = ("light", "dark")
LISTED_PLANS, COMPARABLE_PLANS, LISTED_DIFFERENCES = 8, 100, 40


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks. `theme` is empty where their system decides; `must_sign_in` where nobody else may look.

    `only` is what replicas and machines have to hold to be shown, in small letters.
    """

    is_signed_in: bool = False
    theme: str = ""
    must_sign_in: bool = False
    only: str = ""


def overview(seen: Seen, viewer: Viewer) -> str:
    """The whole page."""
    return _text("overview.html", viewer=viewer, **_known(seen, viewer.only))


def sections(seen: Seen, viewer: Viewer) -> str:
    """What of the page changes: the script puts it in the place of what was there."""
    return _text("sections.html", viewer=viewer, **_known(seen, viewer.only))


def plans(listed: Any, a: str, b: str, comparison: Comparison | None, wrong: str, viewer: Viewer) -> str:
    """The plan history, and two of its plans side by side."""
    shown = {"plans": listed[:COMPARABLE_PLANS], "more_plans": max(0, len(listed) - COMPARABLE_PLANS)}
    shown["most"] = LISTED_DIFFERENCES
    return _text("plans.html", viewer=viewer, **shown, a=a, b=b, comparison=comparison, wrong=wrong)


def login(viewer: Viewer, *, wrong: str = "") -> str:
    return _text("login.html", viewer=viewer, wrong=wrong)


def problem(message: str, hint: str, viewer: Viewer) -> str:
    """What is shown where nothing can be read."""
    return _text("problem.html", viewer=viewer, message=message, hint=hint)


def _known(seen: Seen, only: str) -> dict[str, Any]:
    status = seen.status
    return {
        "status": status,
        "glyph": STATES.get(status["state"], "●"),
        "figures": figures_of(status),
        "fleet": fleet_of(status, only),
        "thought": thought_of(status),
        "charts": charts_of(status, seen.points),
        "held": tuple(held_to_plan(status)),
        "projected": projected_usd(status),
        "events": seen.events,
        "plans": seen.plans[:LISTED_PLANS],
        "more_plans": max(0, len(seen.plans) - LISTED_PLANS),
    }


def _text(name: str, **known: Any) -> str:
    return _environment().get_template(name).render(**known)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals["asset"] = address_of
    made.filters |= {
        "usd": words.usd,
        "seconds": words.seconds,
        "span": words.span,
        "share": words.share,
        "gbit": words.gbit,
        "clock": words.clock,
        "moment": words.moment,
        "rps": rps,
        "bar": bar,
        "minute": minute,
        "until": until,
    }
    return made


def _source(name: str) -> str | None:
    found = files("thunderctl.web") / "pages" / name
    return found.read_text() if found.is_file() else None


def bar(share: float | None) -> str:
    """A width in percent; what is little can still be seen."""
    value = min(max(share or 0.0, 0.0), 1.0)
    return f"{max(100 * value, 2.0) if value > 0 else 0:.1f}%"


def until(at: float, now: float) -> str:
    """When something ends: the time of day, with the day where it is another; in UTC."""
    then, today = (datetime.fromtimestamp(one, UTC) for one in (at, now))
    return then.strftime("%H:%M" if then.date() == today.date() else "%m-%d %H:%M")
