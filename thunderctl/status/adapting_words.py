"""What the controller thinks of the routes in force, in words: what it found last, and why it leaves them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thunderctl import words

FAR = 0.2
"""Attainment that may be missing of what was simulated: windows differ, and so do requests by chance."""
MEND = "`thunderctl doctor --calibrate` measures this host's CPUs; of others `thunderctl bench` says how far off it is"


@dataclass(frozen=True, slots=True)
class Thought:
    """`waits`: it knows of something better and does not do it yet. Attainments are simulated, and said to be."""

    text: str
    waits: bool = False


def thought_of(status: Mapping[str, Any]) -> Thought | None:
    """None where no controller has looked at routes yet, or one that says nothing of it runs."""
    known = (status.get("controller") or {}).get("adapting")
    if not known:
        return None
    now = float(status.get("at") or known["assessed_at"])
    ago = f"looked {words.span(max(0.0, now - known['assessed_at']))} ago"
    if known.get("predicted_now") is None:
        return Thought(f"too few requests to judge the routes by; {ago}")
    gain, then, cooling = known.get("gain") or 0.0, words.share(known.get("predicted_best")), _cooling(known, now)
    meet, ago = f"{words.share(known['predicted_now'])} would meet the SLO as it is", ago + _doubt(status, known)
    if known.get("waits"):
        better = f"{meet}, {then} over other routes (simulated)"
        return Thought(f"{better}. Not yet: {known['waits']}{cooling}; {ago}", waits=True)
    if gain > 0:
        return Thought(f"{meet}, {then} over other routes (simulated): too little to change them for; {ago}")
    return Thought(f"{meet} (simulated), and nothing better is known; {ago}")


def _doubt(status: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """Where far fewer meet it than were simulated to: what is believed is wrong, and what to do."""
    met = (status.get("observed") or {}).get("slo_attainment")
    if met is None or met >= known["predicted_now"] - FAR:
        return ""
    return f". But {words.share(met)} of the last minutes' requests did: the simulation is off here. {MEND}"


def _cooling(known: Mapping[str, Any], now: float) -> str:
    left_s = (known.get("cooling_until") or 0.0) - now
    return f" ({words.span(left_s)} more)" if left_s > 0 else ""
