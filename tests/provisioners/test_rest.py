"""Whatever a server does, asking it gives a value; and it is asked once."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from planner.errors import AuthError, ProvisioningError, RateLimited
from provisioners.rest import Answer, refusal, send


@contextmanager
def answering(raw: bytes) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that says these bytes to every request and hangs up; its URL, and the headers of who asked."""
    asked: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline()
            if self.raw_requestline and self.parse_request():
                asked.append(dict(self.headers) | {"method": self.command})
                self.wfile.write(raw)
            self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def response(status: str, body: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        (response("200 OK", '{"a": 1}'), Answer(200, {"a": 1})),
        (response("201 Created", "made"), Answer(201, "made")),
        (response("204 No Content", ""), Answer(204, "")),
        (response("404 Not Found", '{"detail": "gone"}'), Answer(404, {"detail": "gone"})),
        (response("504 Gateway Time-out", "<html>"), Answer(504, "<html>")),
    ],
)
async def test_an_answer_is_its_status_and_its_json_or_text(raw, answer):
    with answering(raw) as (url, _):
        assert await send("GET", url) == answer


@pytest.mark.parametrize(
    "raw", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", b"HTTP/1.1 abc\r\n\r\n"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_answer_that_is_none_is_a_value_too_and_nothing_is_sent_again(raw, method):
    with answering(raw) as (url, asked):
        answer = await send(method, url, body={"name": "x"} if method == "POST" else None)
    assert (answer.status, answer.good) == (0, False)
    assert "gave no answer" in str(answer)
    assert [one["method"] for one in asked] == [method]


async def test_the_key_is_a_bearer_token_and_we_say_who_asks():
    with answering(response("200 OK", "{}")) as (url, asked):
        await send("POST", url, api_key="secret", body={})
        await send("GET", url)
    assert asked[0]["Authorization"] == "Bearer secret"
    assert "Authorization" not in asked[1]
    assert {one["User-Agent"] for one in asked} == {"thunderctl"}


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_redirect_is_an_answer_and_the_key_goes_nowhere_else(method):
    with answering(response("200 OK", "{}")) as (elsewhere, asked_elsewhere):
        moved = f"HTTP/1.1 302 Found\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n".encode()
        with answering(moved) as (url, asked):
            answer = await send(method, url, api_key="secret", body={} if method == "POST" else None)
    assert (answer.status, len(asked), asked_elsewhere) == (302, 1, [])


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, AuthError), (403, AuthError), (429, RateLimited), (500, ProvisioningError), (0, ProvisioningError)],
)
def test_a_refusal_says_what_can_be_done(status, kind):
    error = refusal("It can't be listed", Answer(status, {"detail": "because", "errors": ["$.a: wrong"]}), "Get a key.")
    assert type(error) is kind
    assert "because $.a: wrong" in error.message
    assert (error.hint == "Get a key.") is (kind is AuthError)
