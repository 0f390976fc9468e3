"""Under which address the world sees this host: security groups open to nobody else by default."""

import asyncio

from planner.errors import ProvisioningError, SpecError
from provisioners.aws.access import ranged
from provisioners.aws.spot_feeds import Fetch

CHECK_URL = "https://checkip.amazonaws.com"
"""AWS's own: it answers with the address that it was asked from."""


async def own_address(fetch: Fetch, url: str = CHECK_URL) -> str:
    """As a range of one. Raises ProvisioningError."""
    try:
        return ranged((await asyncio.to_thread(fetch, url)).strip())
    except (OSError, ValueError, SpecError) as error:
        raise ProvisioningError(
            f"Under which address AWS sees this host is not known: {url} says nothing of use: {error}.",
            hint='Name the addresses that may reach your machines: [markets.aws] open_to = ["203.0.113.7"].',
        ) from error
