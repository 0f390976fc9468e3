"""Hugging Face's hub: what a repository holds, and addresses that a host can fetch it from.

A public repository's files are fetched by the host from the hub itself. For a gated one the hub wants to know who asks:
then the addresses are signed here, with HF_TOKEN, and the token stays here, unless the spec says that it may be sent.
"""

import asyncio
import base64
import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from planner.errors import AuthError, SpecError
from runtime.weights.job import GIT, SHA256, Job, WeightFile
from thunderctl.secrets import Secret
from thunderctl.weights.http import asked, session
from thunderctl.weights.listing import Listing, checked, engine_files
from thunderctl.weights.source import Hub

ENDPOINT = "https://huggingface.co"
AT_A_TIME = 16
MOST_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_HELD_BYTES = 64 << 20
"""Of a file that the hub gives itself and that goes to hosts from here: tokenizers and the like."""


def hub_token() -> Secret:
    """HF_TOKEN of the environment; empty where there is none."""
    return Secret(os.environ.get("HF_TOKEN", ""))


async def hub_listing(source: Hub) -> Listing:
    """The repository's files that engines read, at the commit that its revision stands for now. Raises ThunderError."""
    path = f"api/models/{source.repository}/revision/{quote(source.revision, safe='')}?blobs=true"
    async with session(_authorization()) as client, asked(client, "GET", f"{_endpoint()}/{path}") as answer:
        _check(answer, source)
        said = await answer.read()
    try:
        document: Mapping[str, Any] = json.loads(said)
        files = tuple(_file(entry) for entry in document["siblings"])
        restricted = bool(document.get("gated")) or bool(document.get("private"))
        return checked(Listing(origin_of(source), engine_files(files), str(document["sha"]), restricted))
    except (KeyError, TypeError, ValueError) as error:
        raise SpecError(f"What the hub says of {source.repository} can't be read: {error!r}.") from error


async def hub_job(source: Hub, listing: Listing, *, send_token: bool) -> Job:
    """What a host is asked to fetch, with addresses good for an hour where they are signed. Raises ThunderError."""
    addresses = {
        file: f"{_endpoint()}/{source.repository}/resolve/{listing.revision}/{quote(file.name)}"
        for file in listing.files
    }
    if not listing.restricted:
        return Job(tuple(addresses.items()))
    if send_token:
        return Job(tuple(addresses.items()), _authorization())
    limit = asyncio.Semaphore(AT_A_TIME)
    async with session(_authorization()) as client:
        signed = await asyncio.gather(*(_signed(client, source, file, url, limit) for file, url in addresses.items()))
    return Job(tuple(zip(addresses, signed, strict=True)))


def origin_of(source: Hub) -> str:
    return f"{_endpoint()}/{source.repository}@{source.revision}"


async def _signed(
    client: aiohttp.ClientSession, source: Hub, file: WeightFile, url: str, limit: asyncio.Semaphore
) -> str:
    """Where the hub sends those whom it knows: an address that says who asked, or else a small file itself."""
    for _ in range(MOST_REDIRECTS):
        async with limit, asked(client, "GET", url, allow_redirects=False) as answer:
            if answer.status not in REDIRECTS:
                _check(answer, source)
                _check_size(file, source)
                return "data:;base64," + base64.b64encode(await answer.read()).decode()
            place = URL(url).join(URL(answer.headers.get("Location", "")))
        url = str(place)
        if place.origin() != URL(_endpoint()).origin():  # within the hub a repository may have been renamed
            return url
    raise SpecError(f"The hub leads from one address of {source.repository} to another, and to none of its storage.")


def _check_size(file: WeightFile, source: Hub) -> None:
    """Raise SpecError for weights that a mirror of the hub gives itself: they would all go through this machine."""
    if file.size > MOST_HELD_BYTES:
        raise SpecError(
            f"{_endpoint()} gives {file.name} of {source.repository} ({file.size / 1e9:.1f} GB) itself, and says no "
            "address for hosts to fetch it from.",
            hint="Have hosts ask it with your token ([model] send_token = true), or name a mirror: [model] weights.",
        )


def _file(entry: Mapping[str, Any]) -> WeightFile:
    """Large files are known by their SHA-256, small ones by the hash that git gives them."""
    large = entry.get("lfs")
    value = f"{SHA256}:{large['sha256']}" if large else f"{GIT}:{entry['blobId']}"
    return WeightFile(entry["rfilename"], int(large["size"] if large else entry["size"]), value)


def _check(answer: aiohttp.ClientResponse, source: Hub) -> None:
    match answer.status:
        case 200:
            return
        case 401 | 403:
            who = "with HF_TOKEN" if hub_token() else "without HF_TOKEN"
            raise AuthError(
                f"The hub refuses {source.repository} {who} ({answer.status}).",
                hint="Ask for access on its page, and set HF_TOKEN to a token that may read it.",
            )
        case 404:
            raise SpecError(f"The hub has no {source.repository} at revision {source.revision!r}.")
        case status:
            raise SpecError(f"The hub answers {status} for {source.repository}.", hint="Try again later.")


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")


def _authorization() -> str:
    token = hub_token()
    return f"Bearer {token.reveal()}" if token else ""
