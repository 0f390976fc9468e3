"""HTTP from the control plane to where weights are: one way to ask, and one word for a server that can't be."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from yarl import URL

from planner.errors import SpecError

TIMEOUT = aiohttp.ClientTimeout(total=120, connect=15)


def session(authorization: str = "") -> aiohttp.ClientSession:
    """It minds the environment's proxies."""
    headers = {"Authorization": authorization} if authorization else {}
    return aiohttp.ClientSession(timeout=TIMEOUT, headers=headers, trust_env=True)


@asynccontextmanager
async def asked(
    client: aiohttp.ClientSession, method: str, url: str, **more: Any
) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer to one request. Raises SpecError where there is none."""
    try:
        async with client.request(method, url, **more) as answer:
            yield answer
    except (aiohttp.ClientError, TimeoutError) as error:
        place = URL(url).origin()
        raise SpecError(
            f"{place} can't be asked for the model's weights: {error or type(error).__name__}.",
            hint="See [model] weights, and this machine's way out.",
        ) from error
