"""The deployment as Prometheus series, made from its status document: what it costs, what serves, what is wrong."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from provisioners.leases.journal import LeaseState

STATES = ("absent", "starting", "serving", "degraded", "stopping")


def deployment_metrics(status: Mapping[str, Any]) -> bytes:
    """A snapshot. What nobody has measured yet is left out."""
    registry = CollectorRegistry()
    _state(status, registry)
    _money(status, registry)
    _replicas(status, registry)
    _traffic(status, registry)
    _links(status, registry)
    return generate_latest(registry)


def _state(status: Mapping[str, Any], registry: CollectorRegistry) -> None:
    state = Gauge("thunder_deployment_state", "1 for the state it is in.", ("state",), registry=registry)
    for name in STATES:
        state.labels(name).set(status["state"] == name)
    Gauge("thunder_epoch", "The epoch in force.", registry=registry).set(status["epoch"])
    Gauge("thunder_alerts", "What is wrong, counted.", registry=registry).set(len(status["alerts"]))
    last = status["controller"].get("last_tick_at")
    if last is not None:
        Gauge("thunder_last_tick_seconds", "When the last tick ended, in Unix time.", registry=registry).set(last)
    leases = Gauge("thunder_leases", "Leases that may cost, by state.", ("state",), registry=registry)
    counts = Counter(one["state"] for one in status["instances"])
    for lease_state in LeaseState:
        if lease_state.may_cost:
            leases.labels(str(lease_state)).set(counts[str(lease_state)])
    agents = Gauge(
        "thunder_agents", "Agents of leased machines, by whether they answer.", ("answers",), registry=registry
    )
    answering = sum(bool(one["agent"]) and not one["problem"] for one in status["instances"])
    agents.labels("yes").set(answering)
    agents.labels("no").set(len(status["instances"]) - answering)


def _money(status: Mapping[str, Any], registry: CollectorRegistry) -> None:
    Gauge("thunder_usd_per_hour", "What the leases cost now.", registry=registry).set(status["cost_usd_per_hour"])
    Gauge("thunder_budget_usd_per_hour", "What they may cost.", registry=registry).set(status["budget_usd_per_hour"])
    Gauge("thunder_spent_usd", "What was spent on this deployment.", registry=registry).set(status["spent_usd"])
    left_s = status.get("ending", {}).get("left_s")
    if left_s is not None:
        Gauge("thunder_left_seconds", "Until leases or money end, if nothing is changed.", registry=registry).set(
            left_s
        )


def _replicas(status: Mapping[str, Any], registry: CollectorRegistry) -> None:
    by = ("replica", "phase")
    up = Gauge("thunder_replica_ready", "1 while its engine is ready.", by, registry=registry)
    running = Gauge("thunder_replica_running", "Requests that run.", by, registry=registry)
    waiting = Gauge("thunder_replica_waiting", "Requests that wait.", by, registry=registry)
    usage = Gauge("thunder_replica_kv_usage", "Used share of the KV blocks.", by, registry=registry)
    for one in status["replicas"]:
        labels = (one["id"], one["phase"])
        up.labels(*labels).set(one["state"] == "ready")
        for gauge, value in ((running, one["running"]), (waiting, one["waiting"]), (usage, one["kv_usage"])):
            if value is not None:
                gauge.labels(*labels).set(value)


def _traffic(status: Mapping[str, Any], registry: CollectorRegistry) -> None:
    """What the router observed over its window; its own /metrics has the histograms."""
    observed = status["observed"]
    for name, words, value in (
        ("thunder_observed_rps", "Requests a second.", observed["rate_rps"]),
        ("thunder_slo_attainment", "Share of requests that met both targets.", observed["slo_attainment"]),
    ):
        if value is not None:
            Gauge(name, words, registry=registry).set(value)
    seconds = Gauge("thunder_observed_seconds", "TTFT and TPOT, as observed.", ("what", "quantile"), registry=registry)
    for what in ("ttft", "tpot"):
        for quantile, key in (("0.5", f"{what}_p50_s"), ("0.99", f"{what}_p99_s")):
            if observed[key] is not None:
                seconds.labels(what, quantile).set(observed[key])
    targets = Gauge("thunder_slo_seconds", "The targets for TTFT and TPOT.", ("what",), registry=registry)
    slo = status.get("slo") or {}
    for what in ("ttft", "tpot"):
        if f"{what}_s" in slo:
            targets.labels(what).set(slo[f"{what}_s"])
    if "attainment" in slo:
        Gauge("thunder_slo_target", "The share that is to meet them.", registry=registry).set(slo["attainment"])


def _links(status: Mapping[str, Any], registry: CollectorRegistry) -> None:
    """KV between machines, with the codec of the routes that take that way now."""
    by = ("source", "target", "codec")
    moved = Gauge("thunder_kv_moved_bytes", "KV that came over a way since its agent began.", by, registry=registry)
    bandwidth = Gauge("thunder_kv_gbit_per_s", "Measured bandwidth of a way.", by, registry=registry)
    codecs = _codecs(status)
    for link in status["links"]:
        labels = (link["from"], link["to"], codecs.get((link["from"], link["to"]), ""))
        if link.get("bytes") is not None:
            moved.labels(*labels).set(link["bytes"])
        if link["bandwidth_gbit_per_s"] is not None:
            bandwidth.labels(*labels).set(link["bandwidth_gbit_per_s"])


def _codecs(status: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """The codecs by the way between instances, `int4+raw` where routes differ."""
    places = {one["id"]: one["instances"] for one in status["replicas"]}
    found: dict[tuple[str, str], set[str]] = {}
    for route in status["routes"]:
        for source in places.get(route["prefill"], ()):
            for target in places.get(route["decode"], ()):
                found.setdefault((source, target), set()).add(route["codec"])
    return {way: "+".join(sorted(codecs)) for way, codecs in found.items()}
