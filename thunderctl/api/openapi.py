"""The API's own description: every path, what it takes, and every status it answers with (OpenAPI 3.1)."""

from functools import cache
from typing import Any

from thunderctl import __version__
from thunderctl.api.asked import CHANGES
from thunderctl.api.schemas import DOCUMENTS

Json = dict[str, Any]

ANYWHERE = {
    401: "No token, or a wrong one, where one is needed: for every change, and for everything off loopback",
    403: "It is for another host, or comes from another origin's page",
}
UNREAD = {503: "What was asked for can't be read now, such as the store"}
ASKED = {
    400: "The body is wrong; nothing was touched",
    409: "Another change is under way, or it was refused: who holds the lock is said",
    413: "The body is too large",
    415: "The body is not application/json",
    422: "No plan meets the targets",
    502: "A host or a provider failed, or a command did",
    503: "The store can't be used, so the change could not be written down, and was not made",
}
NO_SUCH = {404: "There is none of that id"}
WRONG = {400: "A parameter is wrong"}


@cache
def document() -> Json:
    """The whole of it, as JSON."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "thunderctl controller", "version": __version__},
        "security": [{"token": []}, {"session": []}, {}],
        "paths": {**_reading(), **{f"/api/v1/{kind.action}": {"post": _change(kind)} for kind in CHANGES}},
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {
                    **{"type": "apiKey", "in": "cookie", "name": "thunder_session_8100"},
                    "description": "Behind the name is the port of the address in use.",
                },
            },
            "schemas": {**DOCUMENTS, **{kind.__name__: _body(kind) for kind in CHANGES}},
        },
    }


def _reading() -> Json:
    return {
        "/api/v1/status": {"get": _answered("What runs, does and costs", "Status", UNREAD)},
        "/api/v1/plan": {"get": _answered("The plan in force, or on the way", "Plan", {**NO_SUCH, **UNREAD})},
        "/api/v1/plans/{plan_id}": {
            "get": _answered("A plan of the deployment", "Plan", {**NO_SUCH, **UNREAD}, _in_path("plan_id"))
        },
        "/api/v1/leases": {"get": _answered("What is rented, and what it has cost", "Leases", UNREAD)},
        "/api/v1/events": {"get": _answered("What happened", "Events", {**WRONG, **UNREAD}, *_of_events())},
        "/api/v1/history": {"get": _answered("The plans, newest first", "History", UNREAD)},
        "/api/v1/series": {
            "get": _answered("The last hour, a point every 5 s", "Series", WRONG, _query("seconds", _from_0_to(3600)))
        },
        "/api/v1/live": {"get": _live()},
        "/api/v1/jobs/{job_id}": {
            "get": _answered(
                "A change, with what its command printed",
                "Job",
                {**WRONG, **NO_SUCH},
                _in_path("job_id"),
                _query("wait_s", _from_0_to(60)),
            )
        },
        "/api/v1/openapi.json": {"get": _answered("This document", None)},
        "/metrics": {"get": _answered("Prometheus's text", None, UNREAD, kind="text/plain")},
    }


def _change(kind: Any) -> Json:
    previewed: Json = {"application/json": {"schema": {"type": "object"}}}
    job: Json = {"application/json": {"schema": _ref("Job")}}
    answers = {"202": {"description": "It was begun", "content": job}}
    if kind.action != "down":
        answers["200"] = {"description": "What it would do (dry_run)", "content": previewed}
    body: Json = {"application/json": {"schema": _ref(kind.__name__)}}
    return {
        "summary": (kind.__doc__ or "").splitlines()[0],
        "security": [{"token": []}, {"session": []}],
        "requestBody": {"required": kind.action in ("drain", "undrain"), "content": body},
        "responses": {**answers, **_errors(ASKED)},
    }


def _live() -> Json:
    stream: Json = {"text/event-stream": {"schema": TEXT}}
    last = {"name": "Last-Event-ID", "in": "header", "required": False, "schema": {"type": "string"}}
    return {
        "parameters": [last, _query("brief", {"enum": ["0", "1"]})],
        "responses": {
            "200": {"description": "Events named status, event, point and problem", "content": stream},
            **_errors(UNREAD),
        },
    }


TEXT: Json = {"type": "string"}
KIND: Json = {"type": "string", "pattern": "^[a-z_.]+$", "maxLength": 80}


def _answered(
    what: str,
    schema: str | None,
    errors: dict[int, str] | None = None,
    *parameters: Json,
    kind: str = "application/json",
) -> Json:
    shown = _ref(schema) if schema else {"type": "object" if kind == "application/json" else "string"}
    return {
        "parameters": list(parameters),
        "responses": {
            "200": {"description": what, "content": {kind: {"schema": shown}}},
            **_errors(errors or {}),
        },
    }


def _errors(said: dict[int, str]) -> Json:
    content = {"application/json": {"schema": _ref("Error")}}
    return {str(status): {"description": what, "content": content} for status, what in {**ANYWHERE, **said}.items()}


def _body(kind: Any) -> Json:
    found: Json = kind.model_json_schema()
    return found


def _of_events() -> list[Json]:
    return [
        _query("after", {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}),
        _query("since", _from_0_to(4e9)),
        _query("limit", {"type": "integer", "minimum": 0, "maximum": 1000}),
        _query("kind", {"type": "array", "maxItems": 20, "items": KIND}),
    ]


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _from_0_to(most: float) -> Json:
    return {"type": "number", "minimum": 0, "maximum": most}


def _query(name: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _in_path(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
