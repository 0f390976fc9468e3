"""What may be asked for: each change is a command of `thunderctl`, written down before it begins and after it."""

import asyncio
from collections.abc import Iterable

from aiohttp import web

from planner.errors import ThunderError
from thunderctl.api.asked import CHANGES, Asked, Change
from thunderctl.api.audit import Audit
from thunderctl.api.guard import CALLER
from thunderctl.api.handlers import Handler, body_of, number
from thunderctl.api.jobs import Job, Jobs
from thunderctl.api.refusals import Refusal
from thunderctl.api.source import Document, Source

DRY_RUN_S = 120.0
MOST_PREVIEWS = 2
"""At a time: each is a search, and the cores are the controller's too."""
LONGEST_WAIT_S = 60.0
STATUSES = {2: 400, 3: 422, 4: 409}
"""By a command's exit code; else it failed, and that is nobody's fault who asked."""


class Changes:
    """Handlers that act. One change at a time: whoever comes second is told of the first."""

    def __init__(self, source: Source, jobs: Jobs, audit: Audit) -> None:
        self._source = source
        self.jobs = jobs
        self._audit = audit
        self._one_at_a_time = asyncio.Lock()
        self._previews = asyncio.Semaphore(MOST_PREVIEWS)

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            *(web.post(f"/api/v1/{kind.action}", self._handler(kind)) for kind in CHANGES),
            web.get("/api/v1/jobs/{job_id}", self.job),
        ]

    async def job(self, request: web.Request) -> web.Response:
        """How a change stands; with `wait_s`, once that has changed, or after so long."""
        wait_s = number(request, "wait_s", 0.0, LONGEST_WAIT_S)
        job = self.jobs.get(request.match_info["job_id"])
        if job is None:
            raise Refusal(
                404, "NotFound", "There is no such job: this controller began none of that id.", "See: /api/v1/events"
            )
        if wait_s and job.ended_at is None:
            try:
                async with asyncio.timeout(wait_s):
                    await job.changed.wait()
            except TimeoutError:
                pass  # it stands as it stood
        return web.json_response(job.document())

    def _handler(self, kind: type[Change]) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            asked = await body_of(request, kind)
            if asked.dry_run:
                return web.json_response(await self._preview(asked))
            job = await self._begin(request, asked)
            return web.json_response(job.document(), status=202, headers={"Location": f"/api/v1/jobs/{job.job_id}"})

        return handle

    async def _preview(self, asked: Asked) -> Document:
        """What a dry run prints."""
        async with self._previews:
            job = await self.jobs.run(asked.command(), DRY_RUN_S)
        if job.exit_code == 0 and job.result is not None:
            return dict(job.result)
        raise _refusal_of(job)

    async def _begin(self, request: web.Request, asked: Asked) -> Job:
        caller = request[CALLER]
        async with self._one_at_a_time:
            if said := await self._who_is_at_it():
                await self._audit.change(caller, asked, "refused", text=said)
                raise Refusal(409, "Refused", said, "Wait until it is done.")
            await self._audit.change(caller, asked, "accepted")

            async def ended(job: Job) -> None:
                outcome = "done" if job.exit_code == 0 else "failed"
                await self._audit.ended(caller, asked, outcome, text=_why(job))

            try:
                return self.jobs.begin(asked.action, asked.command(), ended)
            except ThunderError as error:
                await self._audit.ended(caller, asked, "failed", text=error.message)
                raise

    async def _who_is_at_it(self) -> str:
        if (running := self.jobs.running) is not None:
            return f"`{running.action}` is under way (job {running.job_id})."
        return await self._source.who_works()


def _why(job: Job) -> str:
    """What a command said of its failure; of one that went well, nothing."""
    if job.exit_code == 0:
        return ""
    error = (job.result or {}).get("error")
    said = error.get("message", "") if isinstance(error, dict) else ""
    return str(said or job.said.strip()[-400:] or f"it ended with {job.exit_code}")


def _refusal_of(job: Job) -> Refusal:
    error = (job.result or {}).get("error")
    found = error if isinstance(error, dict) else {}
    status = STATUSES.get(job.exit_code or 0, 502)
    return Refusal(status, found.get("kind", "ThunderError"), _why(job), found.get("hint", ""))
