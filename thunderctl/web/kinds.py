"""Which charts there are: of which values of the series, held to what, and how their figures are written."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from thunderctl import words

Write = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Kind:
    """One chart: its lines (key, name, class), what it is held to (a value's name and which side is good)."""

    chart_id: str
    title: str
    lines: tuple[tuple[str, str, str], ...]
    write: Write
    tick: Write
    target: str = ""
    target_name: str = ""
    worst: Callable[[Iterable[float]], float] = max
    least_top: float = 0.0


def _percent(value: float) -> str:
    return f"{value:.0%}"


def _rate(value: float) -> str:
    return f"{value:.3g}/s"


def _count(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:.1f}"


def _tick_seconds(value: float) -> str:
    return f"{value * 1e3:.4g} ms" if value < 1 else f"{value:.4g} s"


def _tick_usd(value: float) -> str:
    return f"${value:.3g}" if value < 1000 else f"${value:,.0f}"


KINDS = (
    Kind(
        "ttft",
        "Time to first token",
        (("ttft_p99_s", "p99", "high"), ("ttft_p50_s", "p50", "low")),
        words.seconds,
        _tick_seconds,
        "ttft_s",
        "SLO",
    ),
    Kind(
        "tpot",
        "Time per output token",
        (("tpot_p99_s", "p99", "high"), ("tpot_p50_s", "p50", "low")),
        words.seconds,
        _tick_seconds,
        "tpot_s",
        "SLO",
    ),
    Kind(
        "attainment",
        "SLO attainment",
        (("slo_attainment", "met", "low"),),
        _percent,
        _percent,
        "attainment",
        "target",
        min,
        1.0,
    ),
    Kind("rate", "Requests", (("rate_rps", "arriving", "low"),), _rate, _rate, "goodput_rps", "goodput, simulated"),
    Kind("queue", "In the engines", (("running", "running", "low"), ("waiting", "waiting", "warn")), _count, _count),
    Kind(
        "price",
        "Machines' price an hour",
        (("usd_per_hour", "now", "low"),),
        words.usd,
        _tick_usd,
        "usd_per_hour",
        "budget",
    ),
)
