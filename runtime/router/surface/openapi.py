"""The router's own description: every path, what it takes, and every status it answers with (OpenAPI 3.1).

Bodies are described as far as most clients need. Engines know more words, and refuse what they don't take.
"""

from functools import cache
from typing import Any

from runtime.router.surface.apis import APIS, Dialect, dialect_of
from runtime.router.surface.schemas import BODIES

Json = dict[str, Any]

ASKED = {
    400: "The body is no JSON object, or an engine refuses what it says",
    408: "The body did not come in time",
    413: "The body is larger than the router takes",
    415: "The body is not application/json",
    429: "A limit of the key is reached",
    501: "The model does not serve this API",
    503: "There is no room, no replica can answer, or the router is stopping",
    504: "The deadline has passed",
    "4XX": "What an engine refuses for another reason",
}
"""Statuses of what engines are asked."""
ANYWHERE = {401: "No key, or none that is valid, where keys are required"}
UNREAD = {417: "Something is expected that the router doesn't do", 431: "The headers are too long"}
"""Statuses of what is refused before anybody looks at its path."""
ADMINISTRATION = {401: "The admin token is missing or wrong", 403: "The router has no admin token"}
KEPT_NOWHERE = {404: "No response is kept: ask with the whole conversation"}
STATE: Json = {"application/json": {"schema": {"type": "object", "required": ["status", "epoch", "replicas"]}}}
HEALTH = {
    "200": {"description": "It serves", "content": STATE},
    "503": {"description": "No replica that decodes is up, or it is stopping", "content": STATE},
}
WAIT: Json = {"type": "number", "minimum": 0}
DEADLINE = {"type": "number", "exclusiveMinimum": 0}
ADMIN: Json = {"security": [{"admin": []}]}


@cache
def document() -> Json:
    """The whole of it, as JSON."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "thunderctl router", "version": "1"},
        "security": [{"key": []}, {"x-api-key": []}, {}],
        "paths": {**{path: {"post": _asked(path)} for path in APIS}, **_responses_kept(), **_own()},
        "components": {
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "admin": {"type": "http", "scheme": "bearer"},
            },
            "schemas": {"Error": _error(), "AnthropicError": _anthropic_error(), **BODIES},
        },
    }


def methods_of(path: str) -> list[str]:
    """What a path may be asked with, in capitals; empty where it is not served."""
    methods = [method.upper() for method in document()["paths"].get(path, ())]
    return [*methods, "HEAD"] if "GET" in methods else methods


def _asked(path: str) -> Json:
    api = APIS[path]
    body: Json = {"application/json": {"schema": _ref(path)}}
    answer: Json = {"application/json": {"schema": {"type": "object"}}}
    if api.generates:
        answer["text/event-stream"] = {"schema": {}}
    return {
        "requestBody": {"required": True, "content": body},
        "parameters": [_header("X-Request-Id", {"type": "string"}), _header("X-Request-Deadline-S", DEADLINE)],
        "responses": {"200": {"description": "An engine's answer", "content": answer}, **_errors(path, ASKED)},
    }


def _responses_kept() -> Json:
    identifier = {"name": "response_id", "in": "path", "required": True, "schema": {"type": "string"}}
    asked = {"parameters": [identifier], "responses": _errors("/v1/responses", KEPT_NOWHERE)}
    return {
        "/v1/responses/{response_id}": {"get": asked, "delete": asked},
        "/v1/responses/{response_id}/cancel": {"post": asked},
        "/v1/responses/{response_id}/input_items": {"get": asked},
    }


def _own() -> Json:
    """What the router answers itself."""
    routes: Json = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
    refused = {
        400: "They can't be obeyed",
        408: "They did not come in time",
        409: "Their epoch is over",
        413: "They are too large",
        507: "They can't be written down",
        **ADMINISTRATION,
    }
    not_served = {501: "Embeddings are not implemented"}
    return {
        "/v1/models": {"get": _answered("The model that is served")},
        "/v1/embeddings": {"post": {"responses": _errors("/v1/embeddings", not_served)}},
        "/health": {"get": {"responses": HEALTH, "security": [{}]}},
        "/metrics": {"get": _answered("Prometheus's text", ADMINISTRATION, kind="text/plain", **ADMIN)},
        "/openapi.json": {"get": _answered("This document")},
        "/admin/routes": {"put": _answered("In force", refused, requestBody=routes, **ADMIN)},
        "/admin/closed": {"put": _answered("No new request is let in", ADMINISTRATION, **ADMIN)},
        "/admin/drained": {"get": _drained()},
        "/admin/observed": {"get": _observed()},
        "/admin/usage": {"get": _answered("What each key has used", ADMINISTRATION, **ADMIN)},
    }


def _observed() -> Json:
    errors = {400: "The window is none", **ADMINISTRATION}
    return _answered(
        "The traffic of the last minutes, or of their last part",
        errors,
        parameters=[_parameter("window_s", DEADLINE)],
        **ADMIN,
    )


def _drained() -> Json:
    errors = {400: "No replica is named, or the wait is none", **ADMINISTRATION}
    asked = [_parameter("replica", {"type": "string"}, required=True), _parameter("wait_s", WAIT)]
    return _answered("The requests it has: none, or those after the wait", errors, parameters=asked, **ADMIN)


def _answered(what: str, errors: dict[int, str] | None = None, *, kind: str = "application/json", **words: Any) -> Json:
    content = {kind: {"schema": {"type": "object" if kind == "application/json" else "string"}}}
    return {"responses": {"200": {"description": what, "content": content}, **_errors("", errors or {})}, **words}


def _errors(path: str, said: Any) -> Json:
    form = "AnthropicError" if dialect_of(path) is Dialect.ANTHROPIC else "Error"
    return {**_refused("Error", UNREAD), **_refused(form, {**ANYWHERE, **said})}


def _refused(form: str, said: dict[Any, str]) -> Json:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{form}"}}}
    return {str(status): {"description": what, "content": content} for status, what in said.items()}


def _ref(path: str) -> Json:
    return {"$ref": f"#/components/schemas/{path.strip('/').replace('/', '-')}"}


def _header(name: str, schema: Json) -> Json:
    return {"name": name, "in": "header", "required": False, "schema": schema}


def _parameter(name: str, schema: Json, *, required: bool = False) -> Json:
    return {"name": name, "in": "query", "required": required, "schema": schema}


def _error() -> Json:
    said = {"message": {"type": "string"}, "type": {"type": "string"}, "param": {"type": ["string", "null"]}}
    inner = {"type": "object", "required": ["message"], "properties": {**said, "code": {}}}
    return {"type": "object", "required": ["error"], "properties": {"error": inner}}


def _anthropic_error() -> Json:
    said = {"type": {"type": "string"}, "message": {"type": "string"}}
    inner = {"type": "object", "required": ["type", "message"], "properties": said}
    return {
        "type": "object",
        "required": ["type", "error"],
        "properties": {"type": {"const": "error"}, "error": inner},
    }
