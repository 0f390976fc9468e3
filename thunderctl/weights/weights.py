"""A plan's weights as its hosts shall have them: where from, listed once, and the model that each host is told."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from planner.errors import SpecError
from provisioners.hosts.digests import sizes_digest
from provisioners.hosts.wanted import KEY_CHARACTERS, Download, Model, Upload
from runtime.weights.job import Job
from thunderctl.secrets import write_private
from thunderctl.weights import bucket, hub, mirror
from thunderctl.weights.listing import Listing, engine_names, remembered
from thunderctl.weights.source import Bucket, Hub, LocalFolder, Mirror, OnHosts, Source, link_name, source_of

if TYPE_CHECKING:
    from planner.deployment import Plan
    from thunderctl.spec.spec import Spec

SENT_TOKEN = "with your HF_TOKEN"
RECORD = "weights.json"


@dataclass(slots=True)
class Weights:
    """`folder` is the deployment's; what was listed is remembered there."""

    source: Source
    folder: Path
    send_token: bool = False

    async def model(self) -> Model:
        """What a host is told. The first time a source is asked what it holds. Raises ThunderError."""
        link = link_name(self.source)
        match self.source:
            case OnHosts(path):
                return Model(path, link=link)
            case LocalFolder(path):
                return _sent(path, link)
            case Hub() | Mirror() | Bucket() as source:
                listing = await self._listing(source)
                return Model(
                    link=link,
                    key=listing.key,
                    source=Download(partial(self._job, source, listing), self._note(listing)),
                    disk_gb=listing.size_gb,
                )
            case _:
                assert_never(self.source)

    def _note(self, listing: Listing) -> str:
        return SENT_TOKEN if self.send_token and listing.restricted else ""

    async def _listing(self, source: Hub | Mirror | Bucket) -> Listing:
        path = self.folder / RECORD
        if (found := remembered(path, _origin(source))) is None:
            found = await _ask(source)
            write_private(path, json.dumps(found.to_json(), indent=1))
        return found

    async def _job(self, source: Hub | Mirror | Bucket, listing: Listing) -> bytes:
        return (await self._made(source, listing)).to_bytes()

    async def _made(self, source: Hub | Mirror | Bucket, listing: Listing) -> Job:
        match source:
            case Hub():
                return await hub.hub_job(source, listing, send_token=self.send_token)
            case Mirror():
                return mirror.mirror_job(source, listing)
            case Bucket():
                return await bucket.bucket_job(source, listing)


def sent_secrets(plan: "Plan", spec: "Spec") -> str:
    """What of the user's secrets may go to hosts, in a sentence for who confirms it; empty where nothing does."""
    source = source_of(plan, spec)
    if not (spec.model.send_token and isinstance(source, Hub) and hub.hub_token()):
        return ""
    return (
        f"HF_TOKEN goes to hosts that download {source.repository} if the hub asks who wants it ([model] send_token). "
        "They keep it while they download, and not on a disk."
    )


async def _ask(source: Hub | Mirror | Bucket) -> Listing:
    match source:
        case Hub():
            return await hub.hub_listing(source)
        case Mirror():
            return await mirror.mirror_listing(source)
        case Bucket():
            return await bucket.bucket_listing(source)


def _origin(source: Hub | Mirror | Bucket) -> str:
    match source:
        case Hub():
            return hub.origin_of(source)
        case Mirror(url):
            return url
        case Bucket():
            return bucket.origin_of(source)


def _sent(folder: Path, link: str) -> Model:
    """Known by names and sizes: a host that has just these at the same path needs nothing sent, others get what an
    engine reads."""
    whole = Upload(folder)
    if "config.json" not in whole.files:
        raise SpecError(f"{folder} has no config.json; expected a model's folder.")
    upload = Upload(folder, tuple(sorted(engine_names(whole.files))))
    key = sizes_digest(upload.files)[:KEY_CHARACTERS]
    total = sum(path.stat().st_size for path in upload.files.values())
    return Model(str(folder), link, sizes_digest(whole.files), key, upload, total / 1e9)
