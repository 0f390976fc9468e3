"""A load as people watch it, and what it measured as a table beside what was predicted."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from thunderctl.bench.report import Bench, known, ratio
from thunderctl.bench.tally import Tally
from thunderctl.cli import output

if TYPE_CHECKING:
    from rich.table import Table

    from planner.evaluate import Measures

EVERY_S = 10.0
"""Between two plain lines about a load that is under way."""
REFRESHES_PER_S = 2
NONE = "-"
LATE_S = 0.1
"""How far this client may be behind before it is said to be."""
UNCALIBRATED = "uncalibrated: no measurements of some of its GPUs, or of such a model, are behind the prediction"
Write = Callable[[float], str]


def seconds(value: float) -> str:
    return f"{value * 1e3:.{0 if value >= 0.01 else 1}f} ms" if value < 1 else f"{value:.2f} s"


ROWS: tuple[tuple[str, str, Write], ...] = (
    ("attainment", "slo_attainment", "{:.1%}".format),
    ("goodput", "goodput_rps", "{:.2f}".format),
    ("tokens/s", "throughput_tokens_per_s", "{:,.0f}".format),
    *((f"TTFT {which}", f"ttft_{which}_s", seconds) for which in ("p50", "p90", "p99")),
    *((f"TPOT {which}", f"tpot_{which}_s", seconds) for which in ("p50", "p90", "p99")),
    *((f"E2E {which}", f"e2e_{which}_s", seconds) for which in ("p50", "p99")),
)
"""Label, name among the measures, how it is written."""


def watched(tally: Tally, work: Awaitable[None]) -> bool:
    """Await the work while the tally is shown on stderr; False where it was interrupted."""

    async def done() -> None:
        await work

    try:
        with _shown(tally):
            asyncio.run(done())
        return True
    except KeyboardInterrupt:
        return False


def bench_table(run: Bench, expected: "Measures | None") -> "Table":
    """What was measured, what simulation makes of the same requests, and what the plan said of its own rate."""
    found = known(run.tally.measures) if run.tally.measures.requests else {}
    simulated = known(expected) if expected else {}
    planned = asdict(run.plan.predicted)
    rate, own_rate = f"{run.tally.rate_rps:.2f}", f"{run.plan.workload.rate_rps:.2f}"
    rows: list[tuple[str, ...]] = [("requests/s", rate, rate, "", own_rate)]
    for label, name, write in ROWS:
        share = ratio(found.get(name), simulated.get(name))
        cells = (_cell(write, one.get(name)) for one in (found, simulated))
        rows.append((label, *cells, NONE if share is None else f"{share:.2f}", _cell(write, planned.get(name))))
    title = f"{run.endpoint}, {run.wall_s:.0f} s{', interrupted' if run.interrupted else ''}"
    columns = ("", "measured", "simulated", "ratio", "the plan")
    return output.table(title, columns, rows, right=columns[1:])


def asides(run: Bench) -> Iterator[str]:
    """What is said below the table: counts, and what the figures leave out."""
    tally = run.tally
    ended = tally.measures.requests
    yield f"requests    {tally.begun:,} sent, {ended - tally.causes.total():,} answered"
    for cause, count in tally.causes.most_common():
        yield f"failed      {count:,}: {cause}"
    if tally.under_way:
        yield f"under way   {tally.under_way:,} at the end; they are not counted"
    if run.too_long:
        yield f"too long    {run.too_long:,}, which the plan does not admit; they were not sent"
    if run.kv_bytes:
        yield f"KV moved    {run.kv_bytes / 1e9:.3g} GB"
    if tally.late_s > LATE_S:
        yield f"late        requests were sent up to {tally.late_s:.2g} s after they were due, as this host is busy"
    yield "simulated   the same requests, at the times at which they were due"
    if not run.plan.predicted.calibrated:
        yield f"note        {UNCALIBRATED}"


def _cell(write: Write, value: float | None) -> str:
    return NONE if value is None else write(value)


@contextmanager
def _shown(tally: Tally) -> Iterator[None]:
    """A table that stays up to date on a terminal; elsewhere a line now and then."""
    console, last_s = output.narrator(), float(tally.requests.arrival_s[-1])
    console.print(f"Sending {tally.asked:,} requests over {last_s:.0f} s, as real load. Ctrl-C ends it and reports.")
    if console.is_terminal:
        from rich.live import Live

        live = Live(
            get_renderable=lambda: live_table(tally),
            console=console,
            refresh_per_second=REFRESHES_PER_S,
            transient=True,
        )
        with live:
            yield
        return
    over = threading.Event()

    def tell() -> None:
        while not over.wait(EVERY_S):
            output.narrate(progress_line(tally))

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def live_table(tally: Tally) -> "Table":
    """How far the load is, and what it found until now."""
    found, slo = tally.measures, tally.slo
    rows = [
        ("sent", f"{tally.begun:,} of {tally.asked:,}", f"{tally.rate_rps:.2f} requests/s"),
        ("under way", f"{tally.under_way:,}", ""),
        ("TTFT", _percentiles(found.ttft_p50_s, found.ttft_p90_s, found.ttft_p99_s), f"target {seconds(slo.ttft_s)}"),
        ("TPOT", _percentiles(found.tpot_p50_s, found.tpot_p90_s, found.tpot_p99_s), f"target {seconds(slo.tpot_s)}"),
        ("attainment", f"{found.slo_attainment:.1%}" if found.requests else NONE, f"target {slo.attainment:.0%}"),
        ("goodput", f"{found.goodput_rps:.2f} requests/s", ""),
        *(("failed", f"{count:,}", cause) for cause, count in tally.causes.most_common()),
    ]
    return output.table("Load under way", ("", "", ""), rows)


def progress_line(tally: Tally) -> str:
    """`240 of 480 sent (4.00/s), 12 under way; TTFT p50 400 ms …; attainment 97.0%; 3 failed`."""
    found = tally.measures
    failed = tally.causes.total()
    parts = [f"{tally.begun:,} of {tally.asked:,} sent ({tally.rate_rps:.2f}/s), {tally.under_way:,} under way"]
    if found.completed:
        parts.append(f"TTFT {_percentiles(found.ttft_p50_s, found.ttft_p90_s, found.ttft_p99_s)}")
        parts.append(f"TPOT {_percentiles(found.tpot_p50_s, found.tpot_p90_s, found.tpot_p99_s)}")
    if found.requests:
        parts.append(f"attainment {found.slo_attainment:.1%}")
    if failed:
        parts.append(f"{failed:,} failed")
    return "; ".join(parts)


def _percentiles(p50_s: float, p90_s: float, p99_s: float) -> str:
    """No token takes no time: 0 says that there was none."""
    return f"p50 {seconds(p50_s)}, p90 {seconds(p90_s)}, p99 {seconds(p99_s)}" if p99_s > 0 else NONE
