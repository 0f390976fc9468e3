"""One connection of an engine's process to its agent: blocking calls with a deadline, from any thread."""

import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from itertools import count
from typing import Any

from planner.errors import KvTransferError
from runtime.relay.greeting import GREETING, LENGTH, LIMIT_MESSAGE_BYTES, MAGIC, VERSION
from runtime.relay.pool import PoolMemory

CONNECT_S = 5.0
"""A busy machine may not run the agent for a while. Only a start, and a thread that connects anew, waits so long."""
ALIVE_S = 5.0
_SEND_TIMEOUT = struct.pack("ll", 0, 500_000)

Answer = dict[str, Any]


class AgentGone(KvTransferError):
    """The agent can't be reached, or its connection closed before it answered."""


class AgentSlow(KvTransferError):
    """The agent did not answer in time."""


class AgentRefused(KvTransferError):
    """The agent answered no; `reason` is the kind of its error."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Session:
    """One connection and the pool that came with it; its offsets mean nothing in another session's pool."""

    def __init__(self, path: str, ended: Callable[[], None]) -> None:
        self._ended = ended
        self._socket, self.boot, self.memory = _connect(path)
        self.alive = True
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._waiting: dict[int, tuple[str, Future[Answer] | None]] = {}

    def introduce(self, hello: Mapping[str, Any]) -> None:
        """Say who this is, before anything else. Raises AgentGone; then it has not begun, and nobody is told."""
        try:
            self.tell("hello", hello)
        except AgentGone:
            self._socket.close()
            raise

    def listen(self) -> None:
        """Hear answers from now on, and of the connection's end, which may come at once."""
        threading.Thread(target=self._read, name="thunder-door", daemon=True).start()

    def call(self, name: str, fields: Mapping[str, Any], *, timeout_s: float) -> Answer:
        """Raises AgentRefused, AgentSlow after `timeout_s`, AgentGone."""
        future: Future[Answer] = Future()
        number = self._send(name, fields, future)
        try:
            return self._taken(name, _well(future.result(timeout_s)))
        except TimeoutError as error:
            if self._forgone(number, name, future):
                raise AgentSlow(f"The agent did not answer {name} within {timeout_s:g} s.") from error
            return self._taken(name, _well(future.result()))

    def call_patiently(self, name: str, fields: Mapping[str, Any], *, every_s: float) -> Answer:
        """`call` for what takes the agent long, and is bounded there: given up if that does not even say that it lives.

        It is asked that `every_s`.
        """
        future: Future[Answer] = Future()
        number = self._send(name, fields, future)
        while True:
            try:
                return _well(future.result(every_s))
            except TimeoutError:
                try:
                    self.call("alive", {}, timeout_s=ALIVE_S)
                except AgentSlow:
                    if self._forgone(number, name, future):
                        raise

    def tell(self, name: str, fields: Mapping[str, Any]) -> None:
        self._send(name, fields, None)

    def close(self) -> None:
        self.alive = False
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # Not connected any more.

    def _send(self, name: str, fields: Mapping[str, Any], future: "Future[Answer] | None") -> int:
        with self._lock:
            number = next(self._numbers)
            data = json.dumps({"id": number, "call": name, **fields}).encode()
            if future is not None:
                self._waiting[number] = (name, future)
            try:
                self._socket.sendall(LENGTH.pack(len(data)) + data)
            except OSError as error:
                self._waiting.pop(number, None)
                self.close()  # Half a message may be out: nothing can follow it.
                raise AgentGone(f"The agent does not take {name}: {error}.") from error
            return number

    def _taken(self, name: str, answer: Answer) -> Answer:
        """A ticket that nobody says to have is undone when the connection ends. Raises AgentGone: then it is."""
        if name == "reserve":
            self.tell("taken", {"ticket": answer["ticket"]["ticket"]})
        return answer

    def _forgone(self, number: int, name: str, future: "Future[Answer]") -> bool:
        """Undo its answer when it comes, unless it is here."""
        with self._lock:
            if future.done():
                return False
            self._waiting[number] = (name, None)
            return True

    def _read(self) -> None:
        try:
            while True:
                (length,) = LENGTH.unpack(_exactly(self._socket, LENGTH.size))
                if length > LIMIT_MESSAGE_BYTES:
                    raise ConnectionError(f"a message of {length} bytes")
                self._settle(json.loads(_exactly(self._socket, length)))
        except (OSError, ValueError, KeyError, KvTransferError) as error:
            self.alive = False
            self._socket.close()
            with self._lock:
                lost = [future for _, future in self._waiting.values() if future is not None]
                self._waiting.clear()
            for future in lost:
                future.set_exception(AgentGone(f"The agent's connection closed: {error}."))
            self._ended()

    def _settle(self, answer: Answer) -> None:
        with self._lock:
            name, future = self._waiting.pop(int(answer["id"]), ("", None))
            if future is not None:
                future.set_result(answer)
                return
        if answer["ok"] and name == "fetch":
            self.tell("release", {"offset": answer["offset"]})
        elif answer["ok"] and name == "reserve":
            self.tell("cancel", {"ticket": answer["ticket"]["ticket"]})


def _well(answer: Answer) -> Answer:
    """An answer that is no refusal. Raises AgentRefused."""
    if not answer["ok"]:
        raise AgentRefused(str(answer["message"]), str(answer["error"]))
    return answer


def _connect(path: str) -> tuple[socket.socket, str, PoolMemory]:
    """A connection, the agent's boot id and its pool. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(CONNECT_S)
        connection.connect(path)
        data, fds, _flags, _address = socket.recv_fds(connection, GREETING.size, 1, socket.MSG_CMSG_CLOEXEC)
        data += _exactly(connection, GREETING.size - len(data))
        magic, version, size, boot = GREETING.unpack(data)
        if magic != MAGIC or version != VERSION or len(fds) != 1:
            raise ConnectionError(f"the greeting is not version {VERSION} of ours")
        memory = _map(fds[0], size)
        connection.settimeout(None)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SEND_TIMEOUT)
    except OSError:
        connection.close()
        raise
    return connection, boot.decode(), memory


def _map(fd: int, size: int) -> PoolMemory:
    try:
        return PoolMemory(fd, size)
    finally:
        os.close(fd)


def _exactly(connection: socket.socket, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        part = connection.recv(length - len(parts))
        if not part:
            raise ConnectionError("closed by the agent")
        parts += part
    return bytes(parts)
