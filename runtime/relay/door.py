"""The connectors' side of the agent's Unix socket, for vLLM's processes.

An engine must survive its agent: a call fails soon when the agent is slow or gone. An answer that comes after its
caller gave up is undone, so that nothing stays reserved for nobody.
"""

import time
from collections.abc import Mapping
from typing import Any

from runtime.relay.session import AgentGone, Answer, Session

RETRY_S = 1.0


class AgentDoor:
    """One process of an engine at its agent's door. `owner` names the engine, `rank` a worker (None: its scheduler).
    `replica` is what its requests are sent to: only theirs can be refused, or have a ticket said early.

    `open` it once; when the connection ends it is made anew in the background, and until then every call fails at
    once. Safe to use from several threads.
    """

    def __init__(self, path: str, *, owner: str, rank: int | None, replica: str = "") -> None:
        self._path = path
        self._hello = {"owner": owner, "rank": rank, "replica": replica}
        self._session: Session | None = None
        self._closed = False

    def open(self) -> None:
        """Connect, and say who this is. Raises AgentGone within `CONNECT_S`."""
        try:
            session = Session(self._path, self._reconnect)
        except OSError as error:
            raise AgentGone(f"The agent at {self._path} can't be reached: {error}.") from error
        session.introduce(self._hello)
        self._session = session  # before its end can be heard: else it could take the place of the one made anew then
        session.listen()
        if self._closed:  # meanwhile
            session.close()

    def session(self) -> Session:
        """The connection as it is now. Raises AgentGone."""
        if self._session is None or not self._session.alive:
            raise AgentGone(f"There is no agent at {self._path} now.")
        return self._session

    def call(self, name: str, fields: Mapping[str, Any], *, timeout_s: float) -> Answer:
        return self.session().call(name, fields, timeout_s=timeout_s)

    def tell(self, name: str, fields: Mapping[str, Any]) -> bool:
        """Say something whose answer does not matter. False when the agent is gone: then it does not matter either."""
        try:
            self.session().tell(name, fields)
        except AgentGone:
            return False
        return True

    def close(self) -> None:
        self._closed = True
        if self._session is not None:
            self._session.close()

    def _reconnect(self) -> None:
        """In the thread of the connection that has ended: a new agent must know that this process is here."""
        while not self._closed:
            time.sleep(RETRY_S)
            try:
                self.open()
            except AgentGone:
                continue
            return
