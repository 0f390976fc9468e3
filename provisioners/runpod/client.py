"""RunPod's REST API, version 2, in our verbs and errors. No request is sent twice.

Written from its reference (docs.runpod.io/api-reference-v2); it has not met the real service yet. Version 1 is retired
in November 2026. Version 2 has no interruptible pods: those were GraphQL's, which is giving them up as well.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from planner.errors import NoCapacity, OutcomeUnknown
from planner.requirements import CUDA_VERSION
from provisioners.pacer import Pacer
from provisioners.rest import REFUSALS, Answer, refusal, send

URL = "https://api.runpod.io"
CATALOGUE = f"/v2/catalog/gpus?include=AVAILABILITY&product=POD&cloud=SECURE&minCudaVersion={CUDA_VERSION}"
CALL_S, CALLS_AT_ONCE = 1.6, 20
"""60 calls a minute are allowed, of all kinds together; in their first minute these are 57."""
CREDENTIALS = "Check RUNPOD_API_KEY: console.runpod.io, Settings, API keys."


class RunPodClient:
    """One account. Without a key RunPod answers nothing."""

    def __init__(self, api_key: str | None, *, url: str = URL, pacer: Pacer | None = None) -> None:
        self.api_key, self._url = api_key or "", url
        self._pacer = pacer or Pacer(CALL_S, burst=CALLS_AT_ONCE)

    async def gpus(self, count: int) -> Any:
        """The catalogue, with the stock of pods that have so many GPUs and a driver new enough."""
        return await self._asked("RunPod's GPUs can't be listed", "GET", f"{CATALOGUE}&count={count}")

    async def pods(self) -> Any:
        """Every pod of the account: there are no pages, and no filters."""
        return await self._asked("RunPod's pods can't be listed", "GET", "/v2/pods")

    async def create(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        """The pod that was made. OutcomeUnknown where one may have been; any other error says that none was."""
        answer = await self._answer("POST", "/v2/pods", order)
        if answer.good and isinstance(answer.body, Mapping) and isinstance(answer.body.get("id"), str):
            return answer.body
        if answer.status == 400:  # what a create without room gets; wrong fields are a 422
            raise NoCapacity(f"RunPod made no pod: it {answer}.")
        if answer.status in REFUSALS:
            raise refusal("RunPod made no pod", answer, CREDENTIALS)
        raise OutcomeUnknown(  # after a 500 of version 1 there was a pod
            f"Whether RunPod made a pod is not known: it {answer}.",
            hint="It counts as costing until a listing tells: run the command again.",
        )

    async def terminate(self, pod_id: str) -> None:
        """Ask that it be deleted with its disk; one that is gone is as good."""
        path = f"/v2/pods/{quote(pod_id, safe='')}"
        await self._asked(f"RunPod's pod {pod_id} can't be terminated", "DELETE", path, gone=404)

    async def _asked(self, failed: str, method: str, path: str, *, gone: int | None = None) -> Any:
        answer = await self._answer(method, path)
        if not answer.good and answer.status != gone:
            raise refusal(failed, answer, CREDENTIALS)
        return answer.body

    async def _answer(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        await self._pacer.turn()
        answer = await send(method, self._url + path, api_key=self.api_key, body=body)
        (self._pacer.refused if answer.status == 429 else self._pacer.accepted)()
        return answer
