"""The few figures that tell how it goes, each held to what was wanted or promised. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from thunderctl import words

Document = Mapping[str, Any]
NOTHING = "-"
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Figure:
    """`verdict`: `good`, `warn`, `bad`, or empty where nothing is to be judged. `share`, 0 to 1, is drawn as a bar."""

    name: str
    value: str
    note: str
    verdict: str = ""
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A measured figure beside the plan's simulated one, and beside the target where there is one."""

    name: str
    predicted: str
    observed: str
    target: str
    verdict: str


def figures_of(status: Document) -> tuple[Figure, ...]:
    observed, slo, predicted = (status.get(key) or {} for key in ("observed", "slo", "predicted"))
    return (
        _attainment(observed.get("slo_attainment"), slo.get("attainment")),
        _latency("TTFT p99", observed, "ttft", slo),
        _latency("TPOT p99", observed, "tpot", slo),
        _rate(observed.get("rate_rps"), predicted.get("goodput_rps")),
        _price(status),
        *_spent(status),
    )


def held_to_plan(status: Document) -> Iterator[Held]:
    """What was simulated, what is observed, what is wanted. Empty without a plan."""
    observed, slo, predicted = (status.get(key) or {} for key in ("observed", "slo", "predicted"))
    if not predicted:
        return
    for what, share in product(("ttft", "tpot"), ("p50", "p99")):
        key, target = f"{what}_{share}_s", slo.get(f"{what}_s") if share == "p99" else None
        yield Held(
            f"{what.upper()} {share}",
            words.seconds(predicted.get(key)),
            words.seconds(observed.get(key)),
            "" if target is None else words.seconds(target),
            "" if target is None else _in_time(observed, what, target),
        )
    met, target = observed.get("slo_attainment"), slo.get("attainment")
    yield Held(
        "SLO attainment",
        words.share(predicted.get("slo_attainment")),
        words.share(met),
        words.share(target),
        _at_least(met, target),
    )
    yield Held("Requests a second", rps(predicted.get("goodput_rps")), rps(observed.get("rate_rps")), "", "")


def projected_usd(status: Document) -> float | None:
    """What it will have cost when it ends by itself, at what it costs an hour now; None where nothing ends."""
    ending = status.get("ending") or {}
    if ending.get("left_s") is None:
        return None
    spent = float(ending["counted_usd"]) + float(ending["left_s"]) / HOUR_S * float(status["cost_usd_per_hour"])
    most = float(ending.get("max_total_usd") or 0.0)
    return min(spent, most) if most else spent


def rps(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def minute(text: str) -> str:
    """`2027-01-15 08:00`, of an RFC 3339 time; in UTC, as times are everywhere here."""
    return text[:16].replace("T", " ")


def _attainment(met: float | None, target: float | None) -> Figure:
    note = "" if target is None else f"target {target:.0%}"
    return Figure("SLO attainment", words.share(met), note, _at_least(met, target), met)


def _latency(name: str, observed: Document, what: str, slo: Document) -> Figure:
    value, target = observed.get(f"{what}_p99_s"), slo.get(f"{what}_s")
    note = "" if target is None else f"SLO {words.seconds(target)}"
    return Figure(name, words.seconds(value), note, _in_time(observed, what, target))


def _in_time(observed: Document, what: str, target: float | None) -> str:
    """Late is bad where most requests are; where the last hundredth is, an SLO may still be met."""
    found = _at_most(observed.get(f"{what}_p99_s"), target)
    return "warn" if found == "bad" and _at_most(observed.get(f"{what}_p50_s"), target) != "bad" else found


def _rate(rate: float | None, goodput: float | None) -> Figure:
    note = "" if goodput is None else f"goodput {goodput:.2f}/s, simulated"
    beyond = _at_most(rate, goodput) == "bad"
    return Figure("Requests", f"{rps(rate)}/s" if rate is not None else NOTHING, note, "warn" if beyond else "")


def _price(status: Document) -> Figure:
    cost, budget = status["cost_usd_per_hour"], status.get("budget_usd_per_hour") or 0.0
    note = f"budget {words.usd(budget)}/h" if budget else "no budget in force"
    share = min(cost / budget, 1.0) if budget else None
    return Figure("Burning", f"{words.usd(cost)}/h", note, _at_most(cost, budget + 1e-9) if budget else "", share)


def _spent(status: Document) -> Iterator[Figure]:
    ending = status.get("ending") or {}
    spent = ending["counted_usd"] if ending else status["spent_usd"]
    most = ending.get("max_total_usd")
    yield Figure(
        "Spent",
        words.usd(spent),
        f"of {words.usd(most)}" if most else "",
        "bad" if most and spent >= most else "",
        min(spent / most, 1.0) if most else None,
    )
    if ending.get("left_s") is not None:
        by_money = ending.get("money_ends_at") == ending.get("at")
        cause = "until the money is spent" if by_money else "until the first lease ends"
        yield Figure("Time left", words.span(ending["left_s"]), cause, "bad" if ending["left_s"] < HOUR_S else "")


def _at_most(value: float | None, target: float | None) -> str:
    return "" if value is None or target is None else "good" if value <= target else "bad"


def _at_least(value: float | None, target: float | None) -> str:
    return "" if value is None or target is None else "good" if value >= target else "bad"
