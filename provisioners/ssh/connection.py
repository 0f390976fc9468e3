"""One connection to one host, shared by all that is done there: opened when it is needed, and again after a loss.

paramiko blocks, so whatever is done runs in worker threads. Their number is below the sessions that an SSH server
grants one connection by default (10); more wait for their turn.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from planner.errors import HostError
from provisioners.ssh.client import BUSY, LOST, NoAnswer, SshClient
from provisioners.ssh.login import SshAddress, SshLogin

WORKERS = 8
BUSY_S = 15.0
BUSY_POLL_S = 0.05
STOPPING_S = 10.0
"""How long a caller that is cancelled waits for its work to end on the host."""

T = TypeVar("T")


class SshConnection:
    """Safe to share between threads, tasks and event loops."""

    def __init__(self, login: SshLogin) -> None:
        self._login = login
        self._jump = SshConnection(login.jump) if login.jump else None
        self._live: SshClient | None = None
        self._retired: list[SshClient] = []
        self._lock = threading.Lock()
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix=f"ssh {login.address.host}")

    @property
    def address(self) -> SshAddress:
        return self._login.address

    @property
    def lost(self) -> bool:
        return self._live is None or not self._live.alive

    async def do(self, work: Callable[[threading.Event], T]) -> T:
        """Run `work` in a worker thread. Its event is set when the caller is cancelled: then it is to end soon."""
        stop = threading.Event()
        queued = self._workers.submit(work, stop)
        running = asyncio.wrap_future(queued)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            stop.set()
            if queued.cancel():  # no worker was free yet: it is never begun
                raise
            ended, _ = await asyncio.wait([running], timeout=STOPPING_S)
            for work_done in ended:
                work_done.exception()  # that it was stopped is no news
            raise

    def opened(self, open_channel: Callable[[SshClient], T]) -> T:
        """What `open_channel` makes of the connection; of a new one, once, where the old one turns out to be lost.

        Raises HostError. Blocks: call it from `work`.
        """
        deadline, losses = time.monotonic() + BUSY_S, 0
        while True:
            client = self.client()
            try:
                return open_channel(client)
            except BUSY as error:
                if time.monotonic() >= deadline:
                    raise HostError(f"{self.address} grants no more sessions: {error.text}.") from error
                time.sleep(BUSY_POLL_S)
            except LOST as error:
                if isinstance(error, NoAnswer):
                    self._retire(client)
                else:
                    self._drop(client)
                losses += 1
                if losses > 1:
                    raise HostError(f"{self.address} takes no commands: {error or type(error).__name__}.") from error

    def client(self) -> SshClient:
        """The connection, made if there is none. Of several threads one connects, the others wait. Raises HostError."""
        with self._lock:
            self._close_idle()
            if self._live is None or not self._live.alive:
                self._live = SshClient.connect(self._login, self._jump.client() if self._jump else None)
            return self._live

    def close_soon(self) -> None:
        """As `close`, which waits where somebody connects just now, in a worker thread."""
        self._workers.submit(self.close)

    def close(self) -> None:
        """End it; what is under way fails. It may be used again."""
        with self._lock:
            for one in (self._live, *self._retired):
                if one is not None:
                    one.close()
            self._retired.clear()
        if self._jump is not None:
            self._jump.close()

    def _retire(self, client: SshClient) -> None:
        """Begin nothing more on it; what runs there goes on, and it is closed once that has ended."""
        with self._lock:
            if self._live is client:
                self._live = None
                self._retired.append(client)
            self._close_idle()

    def _close_idle(self) -> None:
        for one in [one for one in self._retired if one.is_idle]:
            one.close()
            self._retired.remove(one)

    def _drop(self, client: SshClient) -> None:
        with self._lock:
            client.close()
            if self._live is client:
                self._live = None
