"""The status document as one frame for people; the TUI shows the same."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from thunderctl import words
from thunderctl.cli.output import table
from thunderctl.cli.tables.links import Rows, link_rows
from thunderctl.fleet.resting import resting_line

if TYPE_CHECKING:
    from rich.console import RenderableType

PHASE_STYLES = {"prefill": "cyan", "decode": "magenta", "mixed": "yellow"}
STATE_STYLES = {"serving": "green", "ready": "green", "degraded": "red", "failed": "red", "starting": "yellow"}


def status_frame(status: Mapping[str, Any]) -> "Iterator[RenderableType]":
    """Headline, instances, replicas, routes, measured links, what is observed beside what was predicted, alerts."""
    yield headline(status)
    if said := controller_line(status.get("controller", {})):
        yield said
    if rests := resting_line(status.get("resting", ())):
        yield rests
    if status["instances"]:
        yield table("Instances", *instance_rows(status), right=("$/h", "KV pool"), markup=True)
    if status["replicas"]:
        yield table("Replicas", *replica_rows(status), right=("running", "waiting", "KV used"), markup=True)
    if status["routes"]:
        yield table("Routes", *route_rows(status), right=("share",), markup=True)
    if status["links"]:
        yield table("Links", *link_rows(status), right=("Gbit/s", "ms one way"), markup=True)
    if status["predicted"]:
        yield table("Latency", *latency_rows(status), right=("observed", "predicted (simulated)"), markup=True)
    for alert in status["alerts"]:
        yield f"[bold red]![/] {escape(alert)}"


def headline(status: Mapping[str, Any]) -> str:
    """One line: what it is, its state, where, and what it costs."""
    style = STATE_STYLES.get(status["state"], "white")
    name = f"[bold]{escape(status['deployment'])}[/] [{style}]{status['state']}[/]"
    where = escape(f" {status['model']} at {status['endpoint']}") if status["endpoint"] else ""
    money = (
        f"${status['cost_usd_per_hour']:.3f}/h of ${status['budget_usd_per_hour']:.3f}/h, "
        f"${status['spent_usd']:.4f} spent"
    )
    return f"{name}{where}  epoch {status['epoch']}  {money}"


def controller_line(controller: Mapping[str, Any]) -> str:
    """`controller running since 07:12 UTC; its page: http://127.0.0.1:8100`; empty where there is none to speak of."""
    if controller.get("state", "stopped") == "stopped":
        return ""
    since = datetime.fromtimestamp(controller["since"], UTC).strftime("%Y-%m-%d %H:%M UTC")
    late = "" if controller["state"] == "running" else ", [red]late[/]"
    waits = f"; it waits: {escape(controller['waits_for'])}" if controller["waits_for"] else ""
    page = f"; its page: {escape(controller['api'])}" if controller.get("api") else ""
    return f"controller running since {since}{late}{waits}{page}"


def instance_rows(status: Mapping[str, Any]) -> Rows:
    columns = ("instance", "provider", "offer", "state", "$/h", "KV pool", "agent")
    rows: list[tuple[str, ...]] = [
        (
            entry["id"],
            entry["provider"],
            escape(entry["offer_id"]),
            _styled(entry["state"]),
            f"{entry['usd_per_hour']:.3f}",
            words.share(entry["kv_pool_used_share"]),
            escape(entry["problem"] or entry["agent"]),
        )
        for entry in status["instances"]
    ]
    return columns, rows


def replica_rows(status: Mapping[str, Any]) -> Rows:
    columns = ("replica", "phase", "state", "on", "running", "waiting", "KV used")
    rows: list[tuple[str, ...]] = [
        (
            entry["id"],
            f"[{PHASE_STYLES.get(entry['phase'], 'white')}]{entry['phase']}[/]",
            _styled(entry["state"]),
            ", ".join(entry["instances"]),
            str(entry["running"]),
            str(entry["waiting"]),
            words.share(entry["kv_usage"]),
        )
        for entry in status["replicas"]
    ]
    return columns, rows


def route_rows(status: Mapping[str, Any]) -> Rows:
    columns = ("prefill", "decode", "share", "codec")
    rows: list[tuple[str, ...]] = [
        (r["prefill"], r["decode"], f"{r['share']:.1%}", r["codec"]) for r in status["routes"]
    ]
    return columns, rows


def latency_rows(status: Mapping[str, Any]) -> Rows:
    observed, predicted = status["observed"], status["predicted"]
    columns = ("", "observed", "predicted (simulated)")
    rows: list[tuple[str, ...]] = [
        (label, words.seconds(observed[key]), words.seconds(predicted[key]))
        for label, key in (
            ("TTFT p50", "ttft_p50_s"),
            ("TTFT p99", "ttft_p99_s"),
            ("TPOT p50", "tpot_p50_s"),
            ("TPOT p99", "tpot_p99_s"),
        )
    ]
    rows.append(("attainment", words.share(observed["slo_attainment"]), words.share(predicted["slo_attainment"])))
    rate, most = observed["rate_rps"], predicted["goodput_rps"]
    rows.append(("requests/s", "-" if rate is None else f"{rate:.2f}", "-" if most is None else f"{most:.2f} at most"))
    if reason := predicted.get("reason"):
        rows.append(("", "", reason))
    if not predicted["calibrated"]:
        rows.append(("", "", "uncalibrated"))
    return columns, rows


def _styled(state: str) -> str:
    return f"[{STATE_STYLES.get(state, 'white')}]{escape(state)}[/]"
