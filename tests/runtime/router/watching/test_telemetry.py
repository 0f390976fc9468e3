"""A request's trace: its spans, whose they are, what engines hear of it; and that without an endpoint there is none."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from planner.errors import SpecError
from runtime.router.watching.telemetry import open_telemetry
from runtime.router.watching.traces import Telemetry
from tests.fakes import FakeEngine, serving
from tests.runtime.routing import PAIR, routes_document, routing, soon

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
SECRET = "the words of a prompt"


class Traced:
    """Telemetry whose spans are kept here."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.telemetry = Telemetry(provider)

    @property
    def spans(self):
        return list(self._exporter.get_finished_spans())

    def named(self, name: str):
        (span,) = [span for span in self.spans if span.name == name]
        return span


async def ask(router, headers=None, **body):
    async with router.http.post(
        f"{router.url}/v1/completions", json={"prompt": SECRET, **body}, headers=headers
    ) as got:
        await got.read()
        return got.status


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_request_has_a_span_with_its_wait_and_both_legs_below(pair, tmp_path: Path, streamed):
    traced = Traced()
    async with routing(tmp_path, routes_document(pair, PAIR), telemetry=traced.telemetry) as router:
        await ask(router, {"traceparent": TRACEPARENT, "X-Request-Id": "mine"}, stream=streamed)
    whole = traced.named("POST /v1/completions")
    assert [span.name for span in traced.spans] == ["queue", "prefill", "decode", "POST /v1/completions"]
    assert {f"{span.context.trace_id:032x}" for span in traced.spans} == {TRACE_ID}
    assert f"{whole.parent.span_id:016x}" == PARENT_ID
    assert {span.parent.span_id for span in traced.spans if span is not whole} == {whole.context.span_id}
    said = {"thunder.request_id": "mine", "thunder.prefill": "p0", "thunder.decode": "d0", "thunder.outcome": "ok"}
    assert said.items() <= dict(whole.attributes).items()
    assert whole.attributes["http.response.status_code"] == 200


async def test_an_engine_is_told_of_its_own_leg(pair, tmp_path: Path):
    traced = Traced()
    async with routing(tmp_path, routes_document(pair, PAIR), telemetry=traced.telemetry) as router:
        await ask(router, {"traceparent": TRACEPARENT, "tracestate": "a=b"})
    for engine, leg in (("p0", "prefill"), ("d0", "decode")):
        headers = pair[engine].seen[0].headers
        assert headers["traceparent"] == f"00-{TRACE_ID}-{traced.named(leg).context.span_id:016x}-01"
        assert headers["tracestate"] == "a=b"


async def test_a_leg_that_failed_says_so_and_another_follows(tmp_path: Path):
    engines = {name: FakeEngine(name) for name in ("p0", "d0", "d1")}
    engines["d0"].break_next = True
    routes = [("p0", "d0", 1.0, "int4"), ("p0", "d1", 1e-6, "int4")]
    traced = Traced()
    options = {"telemetry": traced.telemetry}
    async with serving(*engines.values()), routing(tmp_path, routes_document(engines, routes), **options) as router:
        assert await ask(router) == 200
    legs = [(s.name, s.attributes["thunder.replica"], s.status.status_code) for s in traced.spans[1:-1]]
    assert legs == [
        ("prefill", "p0", StatusCode.UNSET),
        ("decode", "d0", StatusCode.ERROR),
        ("decode", "d1", StatusCode.UNSET),
    ]
    assert traced.named("POST /v1/completions").status.status_code is StatusCode.UNSET


async def test_nothing_of_prompts_answers_or_errors_is_in_it(pair, tmp_path: Path):
    traced = Traced()
    pair["d0"].status, pair["d0"].error = 500, f"can't read {SECRET}"
    async with routing(tmp_path, routes_document(pair, PAIR), telemetry=traced.telemetry) as router:
        assert await ask(router) == 503
    assert SECRET not in "".join(span.to_json() for span in traced.spans)
    assert traced.named("POST /v1/completions").status.status_code is StatusCode.ERROR


async def test_a_client_that_goes_ends_the_spans(pair, tmp_path: Path):
    traced = Traced()
    pair["d0"].hang = True
    async with routing(tmp_path, routes_document(pair, PAIR), telemetry=traced.telemetry) as router:
        asking = asyncio.create_task(ask(router))
        await soon(pair["d0"].arrived)
        asking.cancel()
        await soon(pair["d0"].cancelled)
    assert traced.spans[-1].attributes["thunder.outcome"] == "cancelled"
    assert {span.name for span in traced.spans} == {"queue", "prefill", "decode", "POST /v1/completions"}


async def test_without_telemetry_engines_hear_nothing_of_traces(pair, tmp_path: Path):
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        await ask(router, {"traceparent": TRACEPARENT})
    assert "traceparent" not in pair["d0"].seen[0].headers


async def test_spans_are_sent_to_where_the_environment_says(pair, tmp_path: Path, monkeypatch):
    got: list[ExportTraceServiceRequest] = []

    async def collect(request: web.Request) -> web.Response:
        assert request.path == "/v1/traces"
        got.append(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response()

    app = web.Application()
    app.router.add_post("/{rest:.*}", collect)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{runner.addresses[0][1]}"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    telemetry = open_telemetry(environ)
    assert telemetry is not None
    async with routing(tmp_path, routes_document(pair, PAIR), telemetry=telemetry) as router:
        await ask(router)
    await runner.cleanup()
    (sent,) = [spans for request in got for spans in request.resource_spans]
    named = {attribute.key: attribute.value.string_value for attribute in sent.resource.attributes}
    assert named["service.name"] == "thunderctl-router"
    assert len(sent.scope_spans[0].spans) == 4


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_it_is_off_unless_an_endpoint_is_named(environ):
    assert open_telemetry(environ) is None


def test_a_protocol_that_it_does_not_speak_is_refused():
    with pytest.raises(SpecError, match="by grpc; expected http/protobuf"):
        open_telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})


def test_a_missing_extra_is_said_with_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "runtime.router.watching.traces", None)
    with pytest.raises(SpecError, match="not installed") as refused:
        open_telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"})
    assert ".[telemetry]" in refused.value.hint


def test_off_nothing_of_it_is_imported():
    program = """
import sys
from runtime.router import app
from runtime.router.watching.telemetry import open_telemetry
assert open_telemetry({}) is None
print(any(name.startswith("opentelemetry") for name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
