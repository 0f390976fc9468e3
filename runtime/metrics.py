"""The Prometheus series of the router and of an agent: every name in one place, prefix `thunder_`."""

from functools import cache
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

TTFT_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
TPOT_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0)
E2E_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Finished(Protocol):
    """What is known of a request at its end. Times in seconds, None where it never came to that."""

    outcome: str
    prefill: str | None
    decode: str
    phase: str
    prefill_s: float | None
    ttft_s: float | None
    tpot_s: float | None
    e2e_s: float | None


class Charged(Protocol):
    """What a request is put down to its key with."""

    outcome: str
    key: str
    prompt_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None


class RouterMetrics:
    """What the router counts, in a registry of its own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        by = ("replica", "phase")
        ttft = Histogram(
            "thunder_ttft_seconds", "Arrival to first content.", by, registry=registry, buckets=TTFT_BUCKETS_S
        )
        tpot = Histogram(
            "thunder_tpot_seconds", "Per output token after the first.", by, registry=registry, buckets=TPOT_BUCKETS_S
        )
        e2e = Histogram("thunder_e2e_seconds", "Arrival to last byte.", by, registry=registry, buckets=E2E_BUCKETS_S)
        prefill = Histogram(
            "thunder_prefill_leg_seconds", "The prefill leg.", ("replica",), registry=registry, buckets=TTFT_BUCKETS_S
        )
        requests = Counter("thunder_requests", "Requests by outcome.", ("outcome",), registry=registry)
        key_requests = Counter(
            "thunder_key_requests", "Requests by client key and outcome.", ("key", "outcome"), registry=registry
        )
        key_tokens = Counter(
            "thunder_key_tokens",
            "Tokens by client key: prompt (cached ones too), cached, output.",
            ("key", "kind"),
            registry=registry,
        )
        # Looking a labelled series up costs several times what counting in it does.
        self._ttft, self._tpot, self._e2e = cache(ttft.labels), cache(tpot.labels), cache(e2e.labels)
        self._prefill, self._requests = cache(prefill.labels), cache(requests.labels)
        self._key_requests, self._key_tokens = cache(key_requests.labels), cache(key_tokens.labels)
        self.leg_failures = Counter("thunder_leg_failures", "Legs that failed.", ("replica", "leg"), registry=registry)
        self.no_ticket = Counter(
            "thunder_no_ticket", "Prefill legs that gave no ticket.", ("replica",), registry=registry
        )
        self.bypasses = Counter(
            "thunder_bypasses",
            "Prompts computed where they are decoded, being short: all of it (length), or what no cache had (prefix).",
            ("replica", "reason"),
            registry=registry,
        )
        self.recomputes = Counter(
            "thunder_recomputes",
            "Prompts given to a decode replica to compute, as no KV of them was to be had.",
            ("replica",),
            registry=registry,
        )
        self.moves = Counter("thunder_moves", "Streams that others were to take up.", ("replica",), registry=registry)
        self.epoch = Gauge("thunder_epoch", "The epoch in force.", registry=registry)
        self.in_flight = Gauge("thunder_in_flight", "Legs under way.", ("replica",), registry=registry)
        self.beyond = Gauge(
            "thunder_requests_beyond",
            "Requests at its engine that this router did not send, as the engine says.",
            ("replica",),
            registry=registry,
        )
        self.admitted = Gauge(
            "thunder_admitted", "Sequences (choices x prompts) of requests let in and not yet over.", registry=registry
        )
        self.admission_limit = Gauge("thunder_admission_limit", "How many may be let in at a time.", registry=registry)
        self.queued = Gauge("thunder_queued", "Requests that wait to be let in.", registry=registry)
        self.bereft = Gauge(
            "thunder_bereft",
            "Requests that were let in and wait for the next plan, as their decode replicas are all down.",
            registry=registry,
        )
        self.up = Gauge("thunder_replica_up", "1 while it takes requests.", ("replica",), registry=registry)

    def finished(self, request: Finished) -> None:
        """Count a request at its end; the decode replica's series get its times."""
        self._requests(request.outcome).inc()
        if request.prefill is not None and request.prefill_s is not None:
            self._prefill(request.prefill).observe(request.prefill_s)
        if request.ttft_s is not None:
            self._ttft(request.decode, request.phase).observe(request.ttft_s)
        if request.tpot_s is not None:
            self._tpot(request.decode, request.phase).observe(request.tpot_s)
        if request.outcome == "ok" and request.e2e_s is not None:
            self._e2e(request.decode, request.phase).observe(request.e2e_s)

    def charged(self, request: Charged) -> None:
        """Put a request down to the key it came with, at its end."""
        self._key_requests(request.key, request.outcome).inc()
        self._key_tokens(request.key, "prompt").inc(request.prompt_tokens or 0)
        self._key_tokens(request.key, "cached").inc(request.cached_tokens or 0)
        self._key_tokens(request.key, "output").inc(request.output_tokens or 0)

    def text(self) -> bytes:
        return generate_latest(self._registry)
