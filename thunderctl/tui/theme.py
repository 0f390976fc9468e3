"""Colours by what they mean: a phase, a state, a figure out of bounds. Words and glyphs say the same without them."""

from textual.theme import Theme

INK, FAINT, LINE = "#d5d9e0", "#808999", "#3a404d"
BEHIND = "#474e5d"
"""Columns that stand behind others."""
ACCENT, GOOD, WARN, BAD = "#8fb8de", "#7fc79b", "#e0b35f", "#ea7a72"
PHASES = {"prefill": "#5ec4c8", "decode": "#b39df0", "mixed": "#e0a96d"}
STATES = {
    "serving": ("●", GOOD),
    "starting": ("◐", WARN),
    "degraded": ("▲", BAD),
    "stopping": ("■", WARN),
    "absent": ("○", FAINT),
}
GOING = {
    "ready": GOOD,
    "starting": WARN,
    "created": WARN,
    "sent": WARN,
    "draining": WARN,
    "deleting": WARN,
    "unknown": WARN,
    "stopped": FAINT,
    "absent": FAINT,
    "failed": BAD,
}
"""Engines and leases on their way; a provider's own word has the ink's colour."""

THEME = Theme(
    name="thunder",
    primary=ACCENT,
    secondary=PHASES["decode"],
    accent=ACCENT,
    warning=WARN,
    error=BAD,
    success=GOOD,
    foreground=INK,
    background="#14171d",
    surface="#14171d",
    panel="#1d222b",
    boost="#232935",
    dark=True,
    variables={"footer-key-foreground": ACCENT, "scrollbar": "#3a404d", "scrollbar-background": "#14171d"},
)


def phase_style(phase: str) -> str:
    return PHASES.get(phase, INK)


def going_style(state: str) -> str:
    return GOING.get(state, INK)
