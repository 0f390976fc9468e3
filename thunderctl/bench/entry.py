"""The way in: is there somebody at the endpoint, what is served, and does it ask for a key?"""

import ssl
from typing import Any

import aiohttp

from planner.errors import HostError, SpecError
from thunderctl.bench.load import Door
from thunderctl.processes.agents import cause_of, said_in
from thunderctl.secrets import Secret

TIMEOUT = aiohttp.ClientTimeout(total=10, connect=3)
MAKE_ONE = "Make one: thunderctl keys create bench. Then give it as --api-key, or in OPENAI_API_KEY."


async def enter(endpoint: str, api_key: Secret, tls: ssl.SSLContext | None = None) -> tuple[Door, str]:
    """The door, and the model behind it. The key is shown to an endpoint that asks for one, and to no other.

    Raises SpecError where it asks for a key and this is none, HostError where nobody answers as an endpoint does.
    """
    trust = ssl.create_default_context() if endpoint.startswith("https:") and tls is None else tls
    door = Door(endpoint, tls=trust)
    status, said = await _models(door)
    if status == 401:
        if not api_key:
            raise SpecError(f"{endpoint} asks for a client key, and none was given.", hint=MAKE_ONE)
        door = Door(endpoint, api_key, trust)
        status, said = await _models(door)
    if status == 401:
        raise SpecError(f"{endpoint} does not take the key: unknown, revoked or expired.", hint=MAKE_ONE)
    try:
        return door, str(said["data"][0]["id"])
    except (KeyError, IndexError, TypeError) as error:
        raise HostError(f"{endpoint}/models says {status}, and no model: {str(said)[:200]}") from error


async def _models(door: Door) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {door.api_key.reveal()}"} if door.api_key else {}
    try:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT, headers=headers) as session,
            session.get(f"{door.endpoint}/models", ssl=door.tls or True) as response,
        ):
            if response.content_type != "application/json":
                return response.status, said_in(await response.text())
            return response.status, await response.json()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise HostError(f"{door.endpoint} can't be reached: {cause_of(error)}.") from error
