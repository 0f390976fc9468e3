"""An agent's /metrics: its health as Prometheus series. The engines' own are below `/r/{replica}/metrics`."""

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from runtime.messages import AgentHealth


def agent_metrics(health: AgentHealth) -> bytes:
    """A snapshot; counters of KV transfers keep their totals, so gauges will do."""
    registry = CollectorRegistry()
    state = Gauge("thunder_engine_state", "1 for the state it is in.", ("replica", "state"), registry=registry)
    running = Gauge("thunder_engine_running", "Requests that run.", ("replica",), registry=registry)
    waiting = Gauge("thunder_engine_waiting", "Requests that wait.", ("replica",), registry=registry)
    kv_usage = Gauge("thunder_engine_kv_usage", "Used share of the KV blocks.", ("replica",), registry=registry)
    for engine in health.engines:
        state.labels(engine.replica, engine.state).set(1)
        running.labels(engine.replica).set(engine.running)
        waiting.labels(engine.replica).set(engine.waiting)
        kv_usage.labels(engine.replica).set(engine.kv_usage)
    Gauge("thunder_kv_pool_bytes", "Host memory for KV tiles.", registry=registry).set(health.pool_bytes)
    Gauge("thunder_kv_pool_used_bytes", "Of it in use.", registry=registry).set(health.pool_used_bytes)
    Gauge("thunder_kv_tickets", "Tickets that wait for a reader.", registry=registry).set(health.tickets)
    kv = Gauge("thunder_kv", "KV transfers, bytes and seconds since the agent started.", ("what",), registry=registry)
    for what, value in health.kv.items():
        kv.labels(what).set(value)
    gbit = Gauge("thunder_kv_link_gbit_per_s", "Measured bandwidth from an agent.", ("peer",), registry=registry)
    latency = Gauge("thunder_kv_link_latency_seconds", "Measured, one way.", ("peer",), registry=registry)
    for link in health.links:
        if link.bandwidth_gbit_per_s is not None:
            gbit.labels(link.peer).set(link.bandwidth_gbit_per_s)
        if link.latency_ms is not None:
            latency.labels(link.peer).set(link.latency_ms / 1e3)
    return generate_latest(registry)
