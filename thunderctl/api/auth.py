"""Who asks: by the token in its header, by the session that a browser signed in to, or anybody of this host.

The token is in a file that only the controller's user may read. A session is a random word in a cookie, known to this
process alone: after a restart people sign in again. Comparing takes as long whatever is compared.
"""

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from thunderctl.secrets import Secret, write_private

TOKEN_FILE = "api.token"
SESSION_S = 12 * 3600.0
MOST_SESSIONS = 100
OPERATOR = "operator"
"""Who bears the token."""


@dataclass(frozen=True, slots=True)
class Caller:
    """`name` is empty for who did not say. `via`: `token`, `session` or `loopback`."""

    name: str
    address: str
    via: str

    @property
    def may_change(self) -> bool:
        return bool(self.name)

    def __str__(self) -> str:
        return f"{self.name or 'somebody'} ({self.via}) at {self.address}"


def cookie_of(port: int | None) -> str:
    """The name of the cookie with a session of the server at that port, as the browser calls it.

    A browser sends cookies to every port of a host: under one name two controllers, of one host or behind tunnels to
    two, would end each other's sessions.
    """
    return f"thunder_session_{port}" if port else "thunder_session"


@dataclass(slots=True)
class Auth:
    """`is_open`: reading needs no token, as only this host's users get here."""

    token: Secret
    is_open: bool = True
    now: Callable[[], float] = time.monotonic
    _sessions: dict[str, float] = field(default_factory=dict)

    def bears_token(self, said: str) -> bool:
        return hmac.compare_digest(said.encode(errors="surrogateescape"), self.token.reveal().encode())

    def open_session(self) -> Secret:
        """A word for a cookie, good for `SESSION_S`. The oldest ones end where there are too many."""
        self._sessions = {one: end for one, end in self._sessions.items() if end > self.now()}
        while len(self._sessions) >= MOST_SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        word = secrets.token_urlsafe(32)
        self._sessions[word] = self.now() + SESSION_S
        return Secret(word)

    def close_session(self, word: str) -> None:
        self._sessions.pop(word, None)

    def is_session(self, word: str) -> bool:
        """Random words are looked up: what an attacker could time tells nothing of one that is 256 bits long."""
        return self._sessions.get(word, 0.0) > self.now()

    def caller(self, authorization: str | None, cookie: str | None, address: str) -> Caller | None:
        """Who that is; None where what it says is wrong, or it says nothing and had to."""
        if authorization is not None:
            scheme, _, said = authorization.partition(" ")
            good = scheme.lower() == "bearer" and self.bears_token(said.strip())
            return Caller(OPERATOR, address, "token") if good else None
        if cookie is not None and self.is_session(cookie):
            return Caller(OPERATOR, address, "session")
        return Caller("", address, "loopback") if self.is_open else None


def deployment_token(folder: Path) -> Secret:
    """The token in a deployment's controller folder, made if it is missing; an empty one would let anybody in."""
    path = folder / TOKEN_FILE
    if not path.exists() or not path.read_text().strip():
        write_private(path, secrets.token_urlsafe(32) + "\n")
    return Secret(path.read_text().strip())
