"""A mock engine that counts, as a process: a prompt that ends in 1000 is answered by 1001 1002 …, as vLLM would stream.

It states token ids when asked, reads ids back (`/detokenize`), gives tickets and checks them: what a router resumes
elsewhere is right exactly if the count goes on. All streams advance together once a step, as a batch does; without a
step they are written as fast as they are taken, and a negative step says one token and then nothing.
"""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.tls import server_context

START = 1000
BLANK = b"\r\n\r\n"
SEND_BUFFER_BYTES = 64 * 1024
BACKLOG = 1024
AGENTS_PREFIX = re.compile(r"^/r/[^/]+")
HEAD = {"object": "text_completion", "created": 0, "model": "mock"}


@dataclass(frozen=True, slots=True)
class CountingEngine:
    """An engine that runs, on a port of loopback."""

    process: "subprocess.Popen[bytes]"
    port: int

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def start_engine(
    *, step_s: float, prefill_s: float = 0.0, port: int = 0, tls_folder: Path | None = None
) -> CountingEngine:
    """An engine in a process of its own; with credentials it stands in for the agent before it too."""
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:  # asyncio sets TCP_NODELAY only on sockets that say so
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        listener.bind(("127.0.0.1", port))
        listener.listen(BACKLOG)
        arguments = [str(listener.fileno()), str(step_s), str(prefill_s), *([str(tls_folder)] if tls_folder else [])]
        command = [sys.executable, "-P", "-m", "benchmarks.counting_engine", *arguments]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        process = subprocess.Popen(command, pass_fds=[listener.fileno()], env=environment)
        return CountingEngine(process, listener.getsockname()[1])


def main() -> None:
    """The engine's side: a listening socket's number, the step, the time of a prefill, and perhaps credentials."""
    number, step_s, prefill_s, *folder = sys.argv[1:]
    listener = socket.socket(fileno=int(number))
    asyncio.run(_Engine(float(step_s), float(prefill_s)).serve(listener, Path(folder[0]) if folder else None))


class _Engine:
    """The streams under way, and what they share."""

    def __init__(self, step_s: float, prefill_s: float) -> None:
        self.step_s = step_s
        self.prefill_s = prefill_s
        self.streams: set[_Connection] = set()

    async def serve(self, listener: socket.socket, folder: Path | None) -> None:
        parent, tls = os.getppid(), server_context(folder) if folder else None
        server = await asyncio.get_running_loop().create_server(lambda: _Connection(self), sock=listener, ssl=tls)
        async with server:
            while os.getppid() == parent:
                await asyncio.sleep(self.step_s if self.step_s > 0 else 1.0)
                for stream in list(self.streams) if self.step_s > 0 else ():
                    stream.say()


class _Connection(asyncio.Protocol):
    """One connection of the router's; one request at a time."""

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._got = b""
        self._may_write = True
        self._said = self._last = START
        self._ids: list[int] | None = None
        self._answering: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._engine.streams.discard(self)
        if self._answering is not None:
            self._answering.cancel()

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        if self in self._engine.streams and self._engine.step_s == 0:
            self._flood()

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, blank, body = self._got.partition(BLANK)
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        if not blank or len(body) < length:
            return
        self._got = body[length:]
        self._answer(AGENTS_PREFIX.sub("", head.split(b" ", 2)[1].decode()), json.loads(body[:length] or b"{}"))

    def _answer(self, path: str, asked: dict[str, Any]) -> None:
        if path == "/health":
            self._whole({})
        elif path == "/kv/drop":
            self._whole({"known": True})
        elif path == "/detokenize":
            self._whole({"prompt": "".join(f" {token}" for token in asked["tokens"])})
        elif (asked.get("kv_transfer_params") or {}).get("do_remote_decode"):
            ticket = {"do_remote_prefill": True, "ticket": str(_last_of(asked["prompt"]))}
            after_s = self._engine.prefill_s
            self._later(after_s, lambda: self._whole({**_answer_of([], 1), "kv_transfer_params": ticket}))
        else:
            self._decode(asked, _last_of(asked["prompt"]))

    def _decode(self, asked: dict[str, Any], last: int) -> None:
        ticket = (asked.get("kv_transfer_params") or {}).get("ticket")
        if ticket is not None and ticket != str(last):
            self._whole({"error": {"message": f"the ticket is of {ticket}, the prompt of {last}"}}, "400 Bad Request")
            return
        count = asked["max_tokens"]
        if not asked.get("stream"):
            words = range(last + 1, last + 1 + count)
            self._later(count * max(self._engine.step_s, 0.0), lambda: self._whole(_answer_of(list(words), count)))
            return
        self._said, self._last = last, last + count
        self._ids = list(range(max(last - 4, 0), last + 1)) if asked.get("return_token_ids") else None
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        self._transport.write(head)
        self._engine.streams.add(self)
        if self._engine.step_s == 0:
            self._flood()
        else:
            self.say()

    def _flood(self) -> None:
        while self._may_write and self in self._engine.streams and not self._transport.is_closing():
            self.say()

    def say(self) -> None:
        """One token, and the end after the last."""
        self._said += 1
        ends = self._said == self._last
        choice: dict[str, Any] = {"index": 0, "text": f" {self._said}", "finish_reason": "length" if ends else None}
        if self._ids is not None:
            choice |= {"prompt_token_ids": self._ids or None, "token_ids": [self._said]}
            self._ids = []
        event = b"data: " + json.dumps({"id": "x", **HEAD, "choices": [choice]}, separators=(",", ":")).encode()
        events = event + (b"\n\ndata: [DONE]\n\n" if ends else b"\n\n")
        self._transport.write(b"%x\r\n%b\r\n" % (len(events), events) + (b"0\r\n\r\n" if ends else b""))
        if ends:
            self._engine.streams.discard(self)

    def _later(self, after_s: float, answer: Callable[[], None]) -> None:
        self._answering = asyncio.get_running_loop().call_later(after_s, answer)

    def _whole(self, document: dict[str, Any], status: str = "200 OK") -> None:
        body = json.dumps(document).encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


def _answer_of(words: list[int], count: int) -> dict[str, Any]:
    choice = {"index": 0, "text": "".join(f" {word}" for word in words), "finish_reason": "length"}
    usage = {"prompt_tokens": 5, "completion_tokens": count, "total_tokens": 5 + count}
    return {"id": "x", **HEAD, "choices": [choice], "usage": usage}


def _last_of(prompt: str | list[int]) -> int:
    """The number that a prompt ends in."""
    return int(prompt.rsplit(" ", 1)[-1]) if isinstance(prompt, str) else prompt[-1]


if __name__ == "__main__":
    main()
