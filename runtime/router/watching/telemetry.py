"""Whether requests are traced by OpenTelemetry: where the standard variables name an endpoint, and nowhere else.

`traces.py` does it, and is not imported before.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from planner.errors import SpecError

if TYPE_CHECKING:
    from runtime.router.watching.traces import Telemetry

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
SPOKEN = "http/protobuf"
SERVICE = "thunderctl-router"


def open_telemetry(environ: Mapping[str, str]) -> "Telemetry | None":
    """Traces to where the environment says, or None. Raises SpecError where they can't be sent."""
    off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    if off or not any(environ.get(name) for name in ENDPOINTS):
        return None
    protocol = next((environ[name] for name in PROTOCOLS if environ.get(name)), SPOKEN)
    if protocol != SPOKEN:
        raise SpecError(f"Traces are to be sent by {protocol}; expected {SPOKEN}.", hint=f"Unset {PROTOCOLS[1]}.")
    try:
        from runtime.router.watching.traces import telemetry_over_http
    except ImportError as error:
        raise SpecError(
            f"{ENDPOINTS[0]} names an endpoint for traces, but OpenTelemetry is not installed.",
            hint="In a checkout of thunderctl: pip install '.[telemetry]'; or unset the variable.",
        ) from error
    named = environ.get("OTEL_SERVICE_NAME") or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return telemetry_over_http(None if named else SERVICE)
