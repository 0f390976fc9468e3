"""What thunderctl does, in one picture: markets → plan → a fleet split by phase → one endpoint, and who minds it."""

from benchmarks.figures.canvas import Canvas

MARKETS = (
    ("Vast.ai", "spot, on-demand"),
    ("AWS", "spot, on-demand"),
    ("RunPod", "on-demand"),
    ("your own", "over SSH"),
)
PLAN = ("which GPUs to rent", "groups, TP × PP", "prefill or decode", "routes and codecs", "bound and gap")
CARES = (
    "watches load, links, prices",
    "flips phases as the load shifts",
    "replaces machines that are lost",
    "releases all, proven gone",
)
TOP, HIGH = 78.0, 208.0
PREFILL, DECODE = (62.0, 106.0, 150.0), (84.0, 128.0)
PAIRS = ((0, 0, -7), (1, 0, 7), (1, 1, -7), (2, 1, 7))
"""Prefill replica, decode replica, and where its arrow ends beside the middle."""


def drawn() -> Canvas:
    canvas = Canvas(
        780,
        400,
        "What thunderctl does",
        "Offers of several markets and your own machines go into a plan within an hourly budget. It rents GPUs and "
        "splits them into prefill and decode replicas, between which the KV cache moves encrypted in 4 bits. One "
        "OpenAI-compatible endpoint is in front. A controller watches, rebalances, replaces and releases.",
    )
    canvas.heading("A model, a workload, $ per hour  →  one endpoint", "what thunderctl rents, plans, serves and minds")
    _markets(canvas)
    canvas.arrow((160, TOP + HIGH / 2), (188, TOP + HIGH / 2), "soft")
    _plan(canvas)
    canvas.arrow((356, TOP + HIGH / 2), (384, TOP + HIGH / 2), "soft")
    _fleet(canvas)
    canvas.arrow((636, TOP + HIGH / 2), (612, TOP + HIGH / 2), "soft")
    _endpoint(canvas)
    _controller(canvas)
    return canvas


def _box(canvas: Canvas, x: float, width: float, name: str) -> None:
    canvas.rect(x, TOP, width, HIGH, "c-wash o-rule", round_=8)
    canvas.text(x + 14, TOP + 24, name, "b")


def _markets(canvas: Canvas) -> None:
    _box(canvas, 20, 138, "Markets")
    for row, (name, kind) in enumerate(MARKETS):
        y = TOP + 58 + 38 * row
        canvas.text(34, y, name)
        canvas.text(34, y + 15, kind, "s c-soft")


def _plan(canvas: Canvas) -> None:
    _box(canvas, 190, 164, "Plan")
    for row, line in enumerate(PLAN):
        canvas.dot(209, TOP + 54 + 26 * row, 2.5, "c-ours")
        canvas.text(220, TOP + 58 + 26 * row, line, "s")
    canvas.text(204, TOP + HIGH - 14, "simulated first", "s c-soft")


def _fleet(canvas: Canvas) -> None:
    _box(canvas, 388, 222, "Fleet")
    for word, x, places, colour in (("prefill", 402, PREFILL, "ours"), ("decode", 524, DECODE, "second")):
        for y in places:
            canvas.rect(x, TOP + y - 15, 72, 30, f"w-{colour} o-{colour}", round_=5)
            canvas.text(x + 36, TOP + y + 4, word, f"s m c-{colour}")
    for prefill, decode, beside in PAIRS:
        canvas.arrow((476, TOP + PREFILL[prefill]), (522, TOP + DECODE[decode] + beside), "fourth")
    canvas.text(499, TOP + HIGH - 14, "KV cache: in 4 bits, encrypted", "s m c-fourth")


def _endpoint(canvas: Canvas) -> None:
    _box(canvas, 640, 120, "Endpoint")
    for row, line in enumerate(("OpenAI API", "/v1/…", "a router picks", "two replicas", "a request")):
        canvas.text(654, TOP + 58 + 26 * row, line, "s" if row < 2 else "s c-soft")


def _controller(canvas: Canvas) -> None:
    y = TOP + HIGH + 32
    canvas.rect(190, y, 570, 64, "w-third o-third", round_=8)
    canvas.text(204, y + 24, "Controller", "b c-third")
    for place, line in enumerate(CARES):
        canvas.text(312 + 214 * (place % 2), y + 24 + 24 * (place // 2), line, "s")
    canvas.arrow((498, TOP + HIGH + 2), (498, y - 2), "third")
    canvas.arrow((280, y - 2), (280, TOP + HIGH + 2), "third")
    canvas.text(506, y - 11, "measured", "s c-third")
    canvas.text(288, y - 11, "plans anew", "s c-third")
    canvas.line([(188, y + 32), (89, y + 32), (89, TOP + HIGH + 14)], "l-third")
    canvas.arrow((89, TOP + HIGH + 16), (89, TOP + HIGH + 2), "third")
    canvas.text(97, y + 24, "rent, release", "s c-third")
