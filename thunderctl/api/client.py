"""A controller elsewhere, asked over its API: `THUNDER_API_URL` names it, `THUNDER_API_TOKEN` says that we may."""

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from planner import errors
from planner.errors import HostError, SpecError, ThunderError
from runtime.listening import is_loopback
from thunderctl.processes.agents import cause_of
from thunderctl.secrets import Secret

URL, TOKEN = "THUNDER_API_URL", "THUNDER_API_TOKEN"
TIMEOUT = aiohttp.ClientTimeout(total=150, connect=10)
"""A dry run is a search, and the longest that anybody is kept waiting."""
WAIT_S = 20.0
RUNNING, ENDING = "running", "ending"


@dataclass(frozen=True, slots=True)
class Api:
    """One controller's. Calls block; what can't be done is raised as the controller said it, or as HostError."""

    url: str
    token: Secret

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """A document."""
        return asyncio.run(self.asked("GET", path, query=query))

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return asyncio.run(self.asked("POST", path, body=body))

    def change(self, action: str, body: Mapping[str, Any], narrate: Callable[[str], None]) -> dict[str, Any]:
        """Begin a change and follow it to its end; the job as it was then. `narrate` hears its command's lines."""
        job, told = self.post(f"/api/v1/{action}", body), 0
        while True:
            lines = str(job["said"]).splitlines() if job["state"] != RUNNING else str(job["said"]).split("\n")[:-1]
            before = int(job.get("said_from_line", 0))
            for line in lines[max(0, told - before) :]:
                narrate(line)
            told = max(told, before + len(lines))
            if job["state"] != RUNNING:
                return job
            job = self._later(action, job)

    async def asked(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The same, for who awaits it."""
        headers = {"Authorization": f"Bearer {self.token.reveal()}"} if self.token else {}
        try:
            async with (
                aiohttp.ClientSession(timeout=TIMEOUT, headers=headers) as session,
                session.request(
                    method, self.url + path, params=_text(query), json=body, allow_redirects=False
                ) as response,
            ):
                said = await response.json(content_type=None)
                status = response.status
        except (ValueError, aiohttp.ContentTypeError) as error:
            raise HostError(f"What answers at {self.url} is no controller's API.", hint=_HINT) from error
        except (aiohttp.ClientError, TimeoutError, ssl.SSLError, OSError) as error:
            raise HostError(f"The controller at {self.url} can't be reached: {cause_of(error)}.", hint=_HINT) from error
        if not isinstance(said, dict):
            raise HostError(f"What answers at {self.url} is no controller's API.", hint=_HINT)
        if status >= 300:
            raise self._refused(status, said)
        return said

    def _later(self, action: str, job: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self.get(f"/api/v1/jobs/{job['id']}", wait_s=WAIT_S)
        except HostError as error:
            error.hint = f"The {action} goes on there, as far as is known. See its events once it can be reached."
            raise

    def _refused(self, status: int, said: Mapping[str, Any]) -> ThunderError:
        if status == 401:
            found = "does not take the token" if self.token else "wants a token"
            return SpecError(
                f"The controller at {self.url} {found}.",
                hint=f"Put what is in its api.token, below THUNDER_HOME there, into {TOKEN}.",
            )
        return error_of(said.get("error"), f"The controller at {self.url} answers {status}.")


def elsewhere() -> Api | None:
    """The controller that the environment names; None where commands act on this host's own. Raises SpecError."""
    url = os.environ.get(URL, "").rstrip("/")
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise SpecError(f"{URL} is {url!r}; expected such as http://127.0.0.1:8100.")
    token = os.environ.get(TOKEN, "").strip()
    if token and not (token.isascii() and token.isprintable()):
        raise SpecError(f"{TOKEN} has characters that no token has.", hint="It is one line of letters and digits.")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise SpecError(
            f"{URL} is {url}, where the token would cross in the clear; expected https://, or a loopback address.",
            hint="Go there through an SSH tunnel: ssh -L 8100:127.0.0.1:8100 HOST",
        )
    return Api(url, Secret(token))


def error_of(said: Any, otherwise: str) -> ThunderError:
    """The error that a controller told of, as the kind that it is."""
    if not isinstance(said, Mapping) or not said.get("message"):
        return HostError(otherwise)
    kind = getattr(errors, str(said.get("kind")), None)
    if not (isinstance(kind, type) and issubclass(kind, ThunderError)):
        kind = ThunderError
    return kind(str(said["message"]), hint=str(said.get("hint") or ""))


def _text(query: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    found = []
    for name, value in (query or {}).items():
        found += [(name, str(one)) for one in (value if isinstance(value, (list, tuple)) else [value])]
    return found


_HINT = f"Is it up, and does {URL} lead there? Through an SSH tunnel: ssh -L 8100:127.0.0.1:8100 HOST"
