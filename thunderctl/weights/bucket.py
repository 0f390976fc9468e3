"""An S3 bucket: listed here, and fetched by hosts from addresses signed here. No credential leaves this machine."""

import asyncio

from provisioners.s3 import S3Objects
from runtime.weights.job import Job, WeightFile
from thunderctl.weights.listing import MANIFEST, Listing, checked, sums_of
from thunderctl.weights.source import Bucket

SIGNED_FOR_S = 6 * 3600


async def bucket_listing(source: Bucket) -> Listing:
    """The objects of its SHA256SUMS, with their sizes. Raises ThunderError."""
    return await asyncio.to_thread(_listing, source)


async def bucket_job(source: Bucket, listing: Listing) -> Job:
    """Addresses that are good for six hours, or for as long as the credentials that sign them. Raises ThunderError."""
    return await asyncio.to_thread(_job, source, listing)


def origin_of(source: Bucket) -> str:
    return f"s3://{source.bucket}/{source.prefix}".rstrip("/")


def _listing(source: Bucket) -> Listing:
    objects, origin = S3Objects(source.bucket, source.prefix), origin_of(source)
    sums = sums_of(objects.read(MANIFEST).decode(errors="replace"), origin)
    files = tuple(WeightFile(name, objects.size(name), value) for name, value in sums.items())
    return checked(Listing(origin, files, region=objects.region))


def _job(source: Bucket, listing: Listing) -> Job:
    objects = S3Objects(source.bucket, source.prefix, listing.region)
    return Job(tuple((file, objects.signed(file.name, SIGNED_FOR_S)) for file in listing.files))
