"""An HTTPS mirror: a folder shown by any web server, with a SHA256SUMS file in it."""

import asyncio
from urllib.parse import quote

import aiohttp

from planner.errors import SpecError
from runtime.weights.job import Job, WeightFile
from thunderctl.weights.http import asked, session
from thunderctl.weights.listing import MANIFEST, Listing, checked, sums_of
from thunderctl.weights.source import Mirror

AT_A_TIME = 16
OK = 200


async def mirror_listing(source: Mirror) -> Listing:
    """The files of its SHA256SUMS, with the sizes that the server says. Raises SpecError."""
    limit = asyncio.Semaphore(AT_A_TIME)
    async with session() as client:
        sums = sums_of(await _text(client, f"{source.url}/{MANIFEST}"), source.url)
        sizes = await asyncio.gather(*(_size(client, _address(source, name), limit) for name in sums))
    files = tuple(WeightFile(name, size, sums[name]) for name, size in zip(sums, sizes, strict=True))
    return checked(Listing(source.url, files))


def mirror_job(source: Mirror, listing: Listing) -> Job:
    return Job(tuple((file, _address(source, file.name)) for file in listing.files))


def _address(source: Mirror, name: str) -> str:
    return f"{source.url}/{quote(name)}"


async def _text(client: aiohttp.ClientSession, url: str) -> str:
    async with asked(client, "GET", url) as answer:
        if answer.status != OK:
            raise SpecError(
                f"{url} is answered by {answer.status}; expected the mirror's checksums.",
                hint=f"Make them in the model's folder: sha256sum * >{MANIFEST}",
            )
        return await answer.text()


async def _size(client: aiohttp.ClientSession, url: str, limit: asyncio.Semaphore) -> int:
    async with limit, asked(client, "HEAD", url, headers={"Accept-Encoding": "identity"}) as answer:
        if answer.status != OK or answer.content_length is None:
            raise SpecError(f"{url} is answered by {answer.status} and no length; expected a file of the mirror.")
        return answer.content_length
