"""The API over a made-up deployment: the real application and server on loopback, and a command that is a script."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from planner.document import plan_to_json
from planner.errors import ThunderError
from runtime.listening import bound_socket
from tests.thunderctl.controller.situations import PLAN
from thunderctl.api.app import Mount, create_app
from thunderctl.api.auth import Auth
from thunderctl.api.bounds import Limits
from thunderctl.api.jobs import Jobs
from thunderctl.api.listener import Listener
from thunderctl.api.series import Ring, series_document
from thunderctl.secrets import Secret

TOKEN = "a-token-of-the-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
EXAMPLE = json.loads((Path(__file__).parents[1] / "status_example.json").read_text())

COMMAND = """
import json, os, sys, time
words = sys.argv[1:]
sys.stderr.write("begun\\n"); sys.stderr.flush()
if os.environ.get("HOLD"):
    while not os.path.exists(os.environ["HOLD"]): time.sleep(0.01)
if "up" in words and "nowhere" in words:
    print(json.dumps({"error": {"kind": "SpecError", "message": "no plan nowhere", "hint": "see history"}}))
    sys.exit(2)
print(json.dumps({"words": words, "api_url": os.environ.get("THUNDER_API_URL", "")}))
"""
"""What stands for `thunderctl`: it says how it was called, once it may (`HOLD` names a file that it waits for)."""


@dataclass
class Made:
    """A source whose documents a test changes. `down` says why nothing can be read, `works` who holds the lock."""

    document: dict[str, Any] = field(
        default_factory=lambda: {
            "at": 1.0,
            "slo": {},
            "controller": {"state": "running", "since": 0.0, "waits_for": ""},
            **deepcopy(EXAMPLE),
        }
    )
    ring: Ring = field(default_factory=Ring)
    told: list[dict[str, Any]] = field(default_factory=list)
    down: str = ""
    works: str = ""
    asked: int = 0

    def happens(self, kind: str, message: str, **detail: Any) -> None:
        at = "2027-01-01T00:00:00+00:00"
        self.told.append({"id": len(self.told) + 1, "at": at, "kind": kind, "message": message, "detail": detail})

    async def status(self):
        self._reads()
        self.asked += 1
        return deepcopy(self.document)

    async def plan(self, plan_id=""):
        self._reads()
        if plan_id not in ("", PLAN.plan_id):
            raise LookupError(f"There is no plan {plan_id}.")
        return plan_to_json(PLAN)

    async def leases(self):
        self._reads()
        empty = {"leases": [], "strays": [], "sources": [], "warnings": []}
        return {"schema": "thunder.leases/v1", **empty, "usd_per_hour": 0.0, "spent_usd": 0.0}

    async def events(self, *, after_id=None, since=0.0, kinds=(), limit=100):
        self._reads()
        found = [one for one in self.told if not kinds or one["kind"] in kinds]
        if after_id is not None:
            found = [one for one in found if one["id"] > after_id][:limit]
        return {"schema": "thunder.events/v1", "events": found[-limit:] if limit else []}

    async def history(self):
        self._reads()
        return {"schema": "thunder.history/v1", "plans": []}

    def series(self, seconds):
        return series_document(self.ring.since(seconds))

    async def record(self, message, detail):
        self._reads()
        self.happens("audit", message, **detail)

    async def who_works(self):
        self._reads()
        return self.works

    def _reads(self):
        if self.down:
            raise ThunderError(f"The store can't be used: {self.down}.", hint="Mend it.")


@dataclass
class Api:
    """A server that runs, its source, and a session of a client without a token."""

    url: str
    source: Made
    http: aiohttp.ClientSession
    app: web.Application

    async def get(self, path: str, status: int = 200, **more: Any) -> Any:
        async with self.http.get(self.url + path, **more) as response:
            assert response.status == status, await response.text()
            return await response.json()

    async def post(self, path: str, body: Any, status: int, headers: Any = BEARER, **more: Any) -> Any:
        async with self.http.post(self.url + path, json=body, headers=headers, **more) as response:
            assert response.status == status, await response.text()
            return await response.json()

    async def ended(self, job: dict[str, Any]) -> dict[str, Any]:
        """A job, once it has."""
        async with asyncio.timeout(30):
            while job["state"] == "running":
                job = await self.get(f"/api/v1/jobs/{job['id']}?wait_s=10")
        return job


@asynccontextmanager
async def served(
    folder: Path,
    source: Made | None = None,
    *,
    is_open: bool = True,
    mounts: tuple[Mount, ...] = (),
    port: int = 0,
    limits: Limits | None = None,
) -> AsyncIterator[Api]:
    """The API over a source, on a free port of loopback."""
    source = source or Made()
    script = folder / "thunderctl.py"
    script.write_text(COMMAND)
    jobs = Jobs("d", folder, (sys.executable, str(script)))
    app = create_app(source, Auth(Secret(TOKEN), is_open), jobs, limits=limits, mounts=mounts)
    bound = bound_socket("127.0.0.1", port)
    listener, at = Listener(app), bound.getsockname()[1]
    await listener.open(bound, None)
    try:
        async with aiohttp.ClientSession() as http:
            yield Api(f"http://127.0.0.1:{at}", source, http, app)
    finally:
        await listener.close()
        jobs.close()
