"""A request's trace: a span for itself, its wait, and each leg. Never a word of a prompt, nor of an engine's errors.

It goes on from the client's `traceparent`, and an engine gets one that names its leg's span (vLLM reads it). Spans that
have ended wait for a thread of OpenTelemetry's, which sends them by the score.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from runtime.router.engines.leg import Leg, ReplicaFailed
from runtime.router.watching.observed import FAILED, RequestRecord

CARRIED = ("traceparent", "tracestate")
CLOSE_S = 2.0
"""How long the last spans may take to be sent when the router ends."""
NS_PER_S = 1e9
PROPAGATOR = TraceContextTextMapPropagator()


def telemetry_over_http(service: str | None) -> "Telemetry":
    """Traces of `service` (None: as the environment calls it), sent as OpenTelemetry's own variables say."""
    resource = Resource.create({"service.name": service} if service else {})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Telemetry(provider)


class Telemetry:
    """Begins the traces of a provider."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("thunderctl.router")

    def begin(self, path: str, headers: Mapping[str, str]) -> "Trace":
        """The trace of a request that has just arrived, within its client's if that has one."""
        within = PROPAGATOR.extract({name: headers[name] for name in CARRIED if name in headers}, Context())
        attributes = {"http.request.method": "POST", "url.path": path}
        return Trace(self._tracer, self._tracer.start_span(f"POST {path}", within, SpanKind.SERVER, attributes))

    def close(self) -> None:
        """Send what is left, if that is soon done: OpenTelemetry itself would try a collector that is gone for 30 s."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(CLOSE_S)


class Trace:
    """The spans of one request."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self._below = set_span_in_context(span, Context())

    def queued(self, seconds: float) -> None:
        """It has been let in, after it waited so long."""
        began_ns = time.time_ns() - round(seconds * NS_PER_S)
        self._tracer.start_span("queue", self._below, start_time=began_ns).end()

    def leg(self, name: str, replica: str, ask: Callable[[Mapping[str, str]], Leg]) -> "TracedLeg":
        """A leg, asked for with headers that name its span."""
        span = self._tracer.start_span(name, self._below, SpanKind.CLIENT, {"thunder.replica": replica})
        headers: dict[str, str] = {}
        PROPAGATOR.inject(headers, set_span_in_context(span, Context()))
        return TracedLeg(span, ask(headers))

    def end(self, record: RequestRecord, status: int) -> None:
        """Say what is known of the request; of its client's words there is the id that it may have chosen."""
        known: dict[str, str | int | float | None] = {
            "http.response.status_code": status,
            "thunder.request_id": record.request_id,
            "thunder.outcome": record.outcome,
            "thunder.prefill": record.prefill,
            "thunder.decode": record.decode,
            "thunder.codec": record.codec,
            "thunder.ttft_s": record.ttft_s,
            "gen_ai.usage.input_tokens": record.prompt_tokens,
            "gen_ai.usage.output_tokens": record.output_tokens,
        }
        self._span.set_attributes({name: value for name, value in known.items() if value is not None and value != ""})
        if record.outcome in FAILED:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class TracedLeg(AbstractAsyncContextManager[Leg]):
    """A leg within its span."""

    def __init__(self, span: Span, leg: Leg) -> None:
        self._span = span
        self._leg = leg

    async def __aenter__(self) -> Leg:
        try:
            return await self._leg.__aenter__()
        except BaseException as error:
            self._end(error)
            raise

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        await self._leg.__aexit__(kind, error, traceback)
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        if isinstance(error, ReplicaFailed):  # why is not said: an engine's words may be a client's
            self._span.set_status(StatusCode.ERROR)
        self._span.end()
