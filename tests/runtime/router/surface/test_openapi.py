"""The router's description of itself: valid, true of what it serves, and served."""

import re
from pathlib import Path

from jsonschema import Draft202012Validator

from runtime.router.surface import openapi
from runtime.router.surface.apis import APIS
from tests.runtime.routing import PAIR, routes_document, routing


def test_its_schemas_are_schemas():
    for schema in openapi.document()["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_reference_leads_somewhere():
    named = set(re.findall(r"#/components/schemas/([\w-]+)", str(openapi.document())))
    assert named == set(openapi.document()["components"]["schemas"])


def test_what_engines_are_asked_is_all_described():
    assert {path for path, methods in openapi.document()["paths"].items() if "post" in methods} >= set(APIS)


async def test_every_path_in_it_is_served_and_no_other_method_is(pair, tmp_path: Path):
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        for path, methods in openapi.document()["paths"].items():
            if "{" in path or path == "/v1/embeddings":
                continue  # these answer any method alike
            for method in ("get", "put", "post", "delete"):
                async with router.http.request(method, router.url + path) as response:
                    assert (response.status != 405) == (method in methods), (method, path)
                    assert response.status != 404, path


async def test_it_is_served_whole(pair, tmp_path: Path):
    async with (
        routing(tmp_path, routes_document(pair, PAIR)) as router,
        router.http.get(f"{router.url}/openapi.json") as response,
    ):
        assert await response.json() == openapi.document()
