"""The API's description: valid, true of what is served, and what is answered is as it says."""

import re
import threading

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks

from tests.thunderctl.api.serving import BEARER, Made, served
from tests.thunderctl.api.test_client import in_a_thread
from thunderctl.api import openapi
from thunderctl.api.schemas import DOCUMENTS
from thunderctl.api.series import point_of
from thunderctl.status.documents.events import entry
from thunderctl.store.values import Event

load_all_checks()
CASES = 6
CHECKS = (
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
)
OPERATIONS = {
    operation.label: operation
    for operation in (found.ok() for found in schemathesis.openapi.from_dict(openapi.document()).get_all_operations())
}
ENDLESS = "GET /api/v1/live"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with in_a_thread(tmp_path_factory.mktemp("api"), Made()) as url:
        yield url


def test_it_is_a_valid_document():
    validate(openapi.document())


def test_every_schema_is_used_and_every_reference_leads_somewhere():
    named = set(re.findall(r"#/components/schemas/([\w-]+)", str(openapi.document())))
    assert named == set(openapi.document()["components"]["schemas"])


async def test_every_path_is_described_and_every_description_is_served(tmp_path):
    async with served(tmp_path) as api:
        served_paths = {
            (route.method.lower(), route.resource.canonical)
            for route in api.app.router.routes()
            if route.method != "HEAD"
        }
        assert await api.get("/api/v1/openapi.json") == openapi.document()
    described = {(method, path) for path, methods in openapi.document()["paths"].items() for method in methods}
    assert described == served_paths


@pytest.mark.parametrize("path", ["status", "plan", "leases", "events", "history", "series"])
async def test_what_is_answered_is_as_described(tmp_path, path):
    source = Made()
    source.happens("step", "x")
    source.ring.add(source.document)
    async with served(tmp_path, source) as api:
        Draft202012Validator(DOCUMENTS[path.capitalize()]).validate(await api.get(f"/api/v1/{path}"))


def test_what_commands_print_is_as_described():
    event = entry(Event(7, 1.0, "d", "step", "it was leased"))
    Draft202012Validator(DOCUMENTS["Events"]).validate({"schema": "thunder.events/v1", "events": [event]})
    points = [point_of(Made().document, 5.0)]
    Draft202012Validator(DOCUMENTS["Series"]).validate({"schema": "thunder.series/v1", "points": points})


MODES = [(label, GenerationMode.POSITIVE) for label in OPERATIONS if label != ENDLESS]
MODES += [(label, GenerationMode.NEGATIVE) for label, operation in OPERATIONS.items() if operation.body]


@pytest.mark.parametrize(("label", "mode"), MODES, ids=[f"{label} {mode.value}" for label, mode in MODES])
def test_whatever_is_asked_is_answered_as_described(url, label, mode):
    with requests.Session() as session:

        @settings(
            max_examples=CASES,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        @given(case=OPERATIONS[label].as_strategy(generation_mode=mode))
        def ask(case):
            case.headers.update(BEARER)
            if "wait_s" in (case.query or {}):
                case.query["wait_s"] = 0
            response = case.call(base_url=url, session=session, timeout=60)
            assert response.status_code != 500, response.text
            case.validate_response(response, checks=CHECKS)

        ask()
    assert threading.active_count() < 50
