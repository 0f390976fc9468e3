"""Which regions are asked: those that a spec names, else all that the account has, and always where we ever leased.

A region is remembered before a machine is asked for there: it must be found after the spec has changed.
"""

import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from planner.errors import ProvisioningError, SpecError
from provisioners.aws.client import AwsClients

LIKE_A_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d+")


@dataclass(frozen=True, slots=True)
class RegionMemory:
    """The regions where a machine was ever asked for, a line each, in a file that only grows."""

    path: Path

    def regions(self) -> frozenset[str]:
        """Raises ProvisioningError where it can't be read: then a machine might be overlooked."""
        try:
            return frozenset(self.path.read_text().split())
        except FileNotFoundError:
            return frozenset()
        except (OSError, UnicodeDecodeError) as error:
            raise ProvisioningError(f"{self.path} can't be read, so AWS's regions in use are not known.") from error

    def remember(self, region: str) -> None:
        """On the disk when this returns. Raises ProvisioningError."""
        if region in self.regions():
            return
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(f"{region}\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ProvisioningError(
                f"{self.path} can't be written: {error.strerror}. Nothing was asked of AWS."
            ) from error


@dataclass(slots=True)
class Regions:
    """`wanted` are names or parts of names, as in `[markets] regions`; empty: every region of the account."""

    clients: AwsClients
    memory: RegionMemory
    wanted: tuple[str, ...] = ()
    _enabled: tuple[str, ...] = ()

    async def chosen(self) -> tuple[str, ...]:
        """Where offers are looked for. Raises SpecError for a name that is no region's, ProvisioningError."""
        enabled = await self.enabled()
        if not self.wanted:
            return enabled
        found = tuple(region for region in enabled if any(part.lower() in region for part in self.wanted))
        if not found and any(LIKE_A_REGION.fullmatch(part.lower()) for part in self.wanted):
            raise _no_such_region(self.wanted, enabled)
        return found  # none at all where only places of other providers are named

    async def in_use(self) -> tuple[str, ...]:
        """Where machines of ours may be. Raises SpecError and ProvisioningError."""
        return tuple(sorted({*(await self.chosen() or await self.enabled()), *self.memory.regions()}))

    async def enabled(self) -> tuple[str, ...]:
        if not self._enabled:
            doing = "Listing AWS's regions"
            answer = await self.clients.call(doing, "ec2", self.clients.home_region, "describe_regions", {})
            self._enabled = _names(answer.get("Regions", []))
        return self._enabled


def _names(rows: Iterable[dict[str, str]]) -> tuple[str, ...]:
    names = tuple(sorted(row["RegionName"] for row in rows))
    if not names:
        raise ProvisioningError("AWS lists no regions; expected those that the account has enabled.")
    return names


def _no_such_region(wanted: Collection[str], enabled: Collection[str]) -> SpecError:
    near = [name for text in wanted for name in get_close_matches(text.lower(), enabled, n=2)]
    said = (
        f"; did you mean {' or '.join(near)}?" if near else f"; expected one such as {', '.join(sorted(enabled)[:6])}."
    )
    return SpecError(
        f"[markets] regions is {', '.join(wanted)}, which no region enabled for this AWS account is called{said}",
        hint="Regions that are off are turned on in the AWS console, Account, AWS Regions.",
    )
