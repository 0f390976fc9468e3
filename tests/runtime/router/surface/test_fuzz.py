"""Requests that nobody thought of: made from the OpenAPI document, and raw bytes. No 5xx, no hang, nothing left over.

`THUNDER_FUZZ_CASES=5000 pytest tests/runtime/router/surface/test_fuzz.py` makes as many of either; by default 100.
"""

import gzip
import json
import os
import socket
from urllib.parse import urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks

from runtime.router.surface import openapi
from runtime.router.surface.apis import APIS
from tests.runtime.fuzzing import fuzzed
from tests.runtime.routing import TOKEN

load_all_checks()
CASES = int(os.environ.get("THUNDER_FUZZ_CASES", "100"))
WITHIN_S = 10.0
NOT_IMPLEMENTED = "/v1/embeddings"
CHECKS = (
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
)

OPERATIONS = {
    operation.label: operation
    for operation in (found.ok() for found in schemathesis.openapi.from_dict(openapi.document()).get_all_operations())
}
CLOSING = "PUT /admin/closed"
"""After this a router refuses everybody: it is asked of one of its own."""
MODES = [(label, GenerationMode.POSITIVE) for label in OPERATIONS if label != CLOSING]
MODES += [(label, GenerationMode.NEGATIVE) for label, operation in OPERATIONS.items() if operation.body]

WITH_BODIES = sum(bool(OPERATIONS[label].body) for label, _ in MODES)


def some(cases: int):
    checks = list(HealthCheck)
    return settings(
        max_examples=max(cases, 5), deadline=None, database=None, suppress_health_check=checks, phases=[Phase.generate]
    )


@pytest.fixture(scope="module")
def router(tmp_path_factory):
    with fuzzed(tmp_path_factory.mktemp("fuzz")) as made:
        yield made


@pytest.fixture(scope="module")
def session():
    with requests.Session() as made:
        yield made


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("label", "mode"), MODES, ids=[f"{label} {mode.value}" for label, mode in MODES])
def test_what_the_document_describes_is_what_is_answered(router, session, label: str, mode: GenerationMode):
    described(router, session, label, mode)


def test_a_router_that_is_closed_says_what_the_document_describes(tmp_path, session):
    with fuzzed(tmp_path) as router:
        described(router, session, CLOSING, GenerationMode.POSITIVE)


def described(router, session, label: str, mode: GenerationMode) -> None:
    operation = OPERATIONS[label]

    @some(CASES // WITH_BODIES if operation.body else 5)
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case) -> None:
        if case.path.startswith("/admin/"):
            case.headers["Authorization"] = f"Bearer {TOKEN}"
        response = case.call(base_url=router.url, session=session, timeout=WITHIN_S)
        late = response.status_code == 504 and float(case.headers["X-Request-Deadline-S"]) < 1
        assert response.status_code < 500 or case.path == NOT_IMPLEMENTED or late, response.text
        case.validate_response(response, checks=CHECKS)

    ask()


def often(usual, strategy, of: int = 10):
    """What is usual, and once in a while something else."""
    return st.sampled_from([usual] * (of - 1) + [strategy]).flatmap(lambda chosen: chosen)


class Body(bytes):
    """It can be long: what is shown of it when a test fails is its beginning."""

    def __repr__(self) -> str:
        return f"{bytes(self[:200])!r} ({len(self)} bytes)"


def nested(depth: int, opening: str, closing: str) -> bytes:
    return b'{"prompt": "x", "messages": ' + (opening * depth + closing * depth).encode() + b"}"


NUMBERS = st.sampled_from(["NaN", "-Infinity", "1e400", "9" * 30, "-" + "9" * 30, "9" * 5000, "0.1e-400", "-0", "00"])
WORDS = st.sampled_from(
    ["model", "prompt", "messages", "stream", "n", "max_tokens", "vllm_xargs", "kv_transfer_params"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | WORDS, inner, max_size=4),
    max_leaves=10,
)
BODIES = st.one_of(
    st.binary(max_size=300),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(WORDS, VALUES, max_size=6).map(lambda value: json.dumps(value).encode()),
    st.builds(nested, st.integers(1, 1200), st.just('{"a":'), st.just("}")),
    st.builds(nested, st.integers(900, 1000) | st.just(50_000), st.just("["), st.just("]")),
    st.builds(lambda word, number: f'{{"prompt": "x", "{word}": {number}}}'.encode(), WORDS, NUMBERS),
    st.builds(lambda word, one, two: f'{{"{word}": {one}, "{word}": {two}}}'.encode(), WORDS, NUMBERS, NUMBERS),
    st.sampled_from(
        [
            b"",
            b"{}",
            b"\xef\xbb\xbf{}",
            '{"prompt": "é"}'.encode("utf-16"),
            b'{"prompt": "\xff\xfe"}',
            b'{"prompt": "\\ud800"}',
            b'{"prompt": "' + b"x" * 100_000 + b'"}',
            b'{"kv_transfer_params": {"a": 1}, "\\u006bv_transfer_params": {"do": 1}, "prompt": "x"}',
            gzip.compress(b'{"prompt": "x"}'),
            gzip.compress(b" " * 5_000_000),
        ]
    ),
).map(Body)
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60).map(
    lambda value: value.encode("latin-1")
)
HEADERS = st.one_of(
    st.tuples(
        st.just(b"Content-Type"), st.sampled_from([b"text/plain", b"", b"application/json; charset=utf-16", b"/"])
    ),
    st.tuples(
        st.just(b"Content-Encoding"), st.sampled_from([b"gzip", b"deflate", b"br", b"zstd", b"what", b"identity"])
    ),
    st.tuples(st.just(b"Transfer-Encoding"), st.sampled_from([b"chunked", b"gzip, chunked", b"what"])),
    st.tuples(st.just(b"Expect"), st.sampled_from([b"100-continue", b"what"])),
    st.tuples(st.just(b"X-Request-Deadline-S"), st.sampled_from([b"nan", b"inf", b"-1", b"1e999", b"0", b"", b"5"])),
    st.tuples(st.sampled_from([b"X-Request-Id", b"Authorization", b"x-api-key", b"traceparent", b"Cookie"]), TEXT),
    st.tuples(st.sampled_from([b"Range", b"If-None-Match", b"Accept", b"Upgrade", b"Host", b"X-What"]), TEXT),
    st.tuples(st.just(b"X-Vllm-Priority"), TEXT | st.just(b"9" * 400)),
)
UNREADABLE = st.one_of(
    st.tuples(TEXT, TEXT), st.tuples(st.just(b"Content-Length"), TEXT), st.just((b"X-Long", b"x" * 9000))
)
METHODS = often(
    st.just("POST"), st.sampled_from(["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "PATCH", "post", "WHAT"])
)
PATHS = [*openapi.document()["paths"], "*", "http://x/health", "//", "/%ff", "/../health", "/v1/models?" + "x" * 9000]
ANY_PATH = st.text(st.characters(codec="ascii", exclude_characters=" \r\n"), max_size=30).map(lambda text: "/" + text)
TARGETS = often(st.sampled_from([*APIS]), st.sampled_from(PATHS) | ANY_PATH, of=4)


LINES = often(often(st.just([]), st.lists(HEADERS, max_size=3), of=2), st.lists(UNREADABLE, max_size=2))


def said(url: str, request: bytes) -> bytes:
    """What comes back until the router closes the connection."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), timeout=WITHIN_S) as connection:
        try:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(65536), b""))
        except ConnectionError:  # it was refused before all of it was sent
            return b""


@pytest.mark.timeout(3600)
def test_whatever_comes_is_answered_or_refused(router):
    @some(CASES)
    @given(METHODS, TARGETS, LINES, BODIES)
    def ask(method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        given_names = {name.lower() for name, _ in headers}
        lines = [(b"Host", b"x"), (b"Connection", b"close"), (b"Content-Length", str(len(body)).encode())]
        lines += [(b"Content-Type", b"application/json")]
        lines = [line for line in lines if line[0].lower() not in given_names] + headers
        head = f"{method} {target} HTTP/1.1\r\n".encode() + b"".join(b"%b: %b\r\n" % line for line in lines)
        answer = said(router.url, head + b"\r\n" + body)
        answer = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        event(f"answered {answer[9:12].decode() or 'with nothing'}")
        if not answer:
            return
        status = int(answer.split(maxsplit=2)[1])
        assert status < 500 or target == NOT_IMPLEMENTED, answer
        if status >= 400 and method != "HEAD":
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"], answer

    ask()
