"""A deployment whose controller is elsewhere: fed by its API, and acted on by it, with the token that commands have."""

from collections.abc import Sequence
from typing import Any

from planner.errors import SpecError
from thunderctl.api.client import RUNNING, WAIT_S, Api, error_of
from thunderctl.tui.decision import Wish
from thunderctl.tui.feed import Say, Show
from thunderctl.tui.frame import Document

EVENTS = 200


class ApiFeed:
    def __init__(self, api: Api) -> None:
        self._api = api

    async def status(self) -> Document:
        return await self._api.asked("GET", "/api/v1/status")

    async def events(self) -> Sequence[Document]:
        found: Sequence[Document] = (await self._api.asked("GET", "/api/v1/events", query={"limit": EVENTS}))["events"]
        return found

    async def series(self, seconds: float) -> Sequence[Document]:
        found = await self._api.asked("GET", "/api/v1/series", query={"seconds": seconds})
        points: Sequence[Document] = found["points"]
        return points


class ApiHands:
    """What was confirmed goes on there, whatever becomes of this screen."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def decide(self, workload: str, wish: Wish, *, dry_run: bool) -> Document:
        how = {"workload": workload, "dry_run": dry_run}
        if wish.back:
            answer = await self._api.asked("POST", "/api/v1/undrain", body={"instance": wish.back, **how})
        else:
            answer = await self._api.asked("POST", "/api/v1/rebalance", body={"without": list(wish.without), **how})
        return answer if dry_run else await self._done(answer)

    async def follow(self, names: Sequence[str], show: Show, say: Say) -> None:
        of = f" {' '.join(names)}" if names else ""
        raise SpecError(
            f"Logs are followed on the host where the controller of {self._api.url} runs.",
            hint=f"There: thunderctl logs{of} -f",
        )

    async def _done(self, job: dict[str, Any]) -> Document:
        """What the command printed in the end. Raises ThunderError as it does."""
        while job["state"] == RUNNING:
            job = await self._api.asked("GET", f"/api/v1/jobs/{job['id']}", query={"wait_s": WAIT_S})
        result: dict[str, Any] = job["result"] or {}
        if job["exit_code"] or not result:
            raise error_of(result.get("error"), f"The rebalance ended there with {job['exit_code']}: {job['said']}")
        return result
