"""What the API's documents look like, as JSON Schema: what others may rely on. More keys may come; none goes."""

from typing import Any

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
WHOLE: Json = {"type": "integer"}
NUMBER: Json = {"type": "number"}
SEEN: Json = {"type": ["number", "null"]}
"""Null where nobody has measured it."""
FLAG: Json = {"type": "boolean"}


def thing(**properties: Json) -> Json:
    """An object that has all of these, and maybe more."""
    return {"type": "object", "required": sorted(properties), "properties": properties}


def many(of: Json) -> Json:
    return {"type": "array", "items": of}


def named(schema: str) -> Json:
    return {"const": schema}


POINT = thing(
    at=NUMBER,
    rate_rps=SEEN,
    ttft_p50_s=SEEN,
    ttft_p99_s=SEEN,
    tpot_p50_s=SEEN,
    tpot_p99_s=SEEN,
    slo_attainment=SEEN,
    running=WHOLE,
    waiting=WHOLE,
    kv_usage=SEEN,
    usd_per_hour=NUMBER,
    spent_usd=NUMBER,
)
STATUS = thing(
    schema=named("thunder.status/v1"),
    at=NUMBER,
    deployment=TEXT,
    state={"enum": ["absent", "starting", "serving", "degraded", "stopping"]},
    plan_id=TEXT,
    model=TEXT,
    epoch=WHOLE,
    endpoint=TEXT,
    cost_usd_per_hour=NUMBER,
    spent_usd=NUMBER,
    budget_usd_per_hour=NUMBER,
    instances=many(thing(id=TEXT, lease_id=TEXT, provider=TEXT, state=TEXT, usd_per_hour=NUMBER, problem=TEXT)),
    replicas=many(thing(id=TEXT, phase=TEXT, state=TEXT, instances=many(TEXT), running=SEEN, waiting=SEEN)),
    routes=many(thing(prefill=TEXT, decode=TEXT, share=NUMBER, codec=TEXT)),
    links=many({"type": "object", "required": ["from", "to", "bandwidth_gbit_per_s", "latency_ms"]}),
    observed=thing(rate_rps=SEEN, ttft_p50_s=SEEN, ttft_p99_s=SEEN, tpot_p50_s=SEEN, tpot_p99_s=SEEN),
    predicted={"type": "object"},
    controller=thing(state=TEXT),
    alerts=many(TEXT),
)
PLAN = thing(
    schema=named("thunder.plan/v1"),
    plan_id=TEXT,
    cost_usd_per_hour=NUMBER,
    instances=many(thing(id=TEXT, provider=TEXT, usd_per_hour=NUMBER)),
    replicas=many(thing(id=TEXT, phase=TEXT)),
    routes=many(thing(prefill=TEXT, decode=TEXT, share=NUMBER, codec=TEXT)),
    predicted={"type": "object"},
)
LEASES = thing(
    schema=named("thunder.leases/v1"),
    leases=many(thing(id=TEXT, instance=TEXT, provider=TEXT, state=TEXT, usd_per_hour=NUMBER, spent_usd=NUMBER)),
    usd_per_hour=NUMBER,
    spent_usd=NUMBER,
    strays=many({"type": "object"}),
    sources=many(thing(provider=TEXT, ok=FLAG, error=TEXT)),
    warnings=many(TEXT),
)
EVENT = thing(id=WHOLE, at=TEXT, kind=TEXT, message=TEXT, detail={"type": "object"})
EVENTS = thing(schema=named("thunder.events/v1"), events=many(EVENT))
HISTORY = thing(
    schema=named("thunder.history/v1"),
    plans=many(thing(plan_id=TEXT, created_at=TEXT, in_force=FLAG, replicas=many({"type": "object"}))),
)
SERIES = thing(schema=named("thunder.series/v1"), points=many(POINT))
JOB = thing(
    schema=named("thunder.job/v1"),
    id=TEXT,
    action={"enum": ["rebalance", "drain", "undrain", "up", "down"]},
    command=many(TEXT),
    state={"enum": ["running", "ending", "done", "failed"]},
    started_at=NUMBER,
    ended_at=SEEN,
    exit_code={"type": ["integer", "null"]},
    result={"type": ["object", "null"]},
    said=TEXT,
    said_from_line=WHOLE,
)
ERROR = thing(error=thing(kind=TEXT, message=TEXT, hint=TEXT))
DOCUMENTS = {
    "Status": STATUS,
    "Plan": PLAN,
    "Leases": LEASES,
    "Events": EVENTS,
    "History": HISTORY,
    "Series": SERIES,
    "Job": JOB,
    "Error": ERROR,
}
