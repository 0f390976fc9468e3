"""A machine that the user owns, as the spec states it: `[ssh.hosts.NAME]`."""

from dataclasses import dataclass, field
from pathlib import Path

from planner.catalog import CODEC_GB_PER_S, Offer
from planner.gpus import gpu_named
from provisioners.local.offers import CODEC_GB_PER_S as CPU_CODEC_GB_PER_S
from provisioners.ssh.login import SshAddress, SshKeys

PROVIDER = "ssh"
ROOT = "/var/tmp/thunderctl"
"""Outlives a reboot, and is the same for every user of the host: whoever leases it must see who else does."""

Place = tuple[SshAddress, str]


@dataclass(frozen=True, slots=True)
class SshHost:
    """The host is rented as a whole. `root` is the folder on it where its lease is, and all else of ours.

    `reach` is the name under which the router and other instances reach it, if not the one that SSH uses. `jump` is
    the host that SSH goes through. `engine_python` is the interpreter with vLLM there; empty: wherever it is here.
    """

    name: str
    address: SshAddress
    gpu: str
    gpu_count: int
    usd_per_hour: float = 0.0
    root: str = ROOT
    reach: str = ""
    keys: SshKeys = field(default_factory=SshKeys)
    jump: SshAddress | None = None
    sudo: bool = False
    engine_python: str = ""

    @property
    def place(self) -> Place:
        """What makes two hosts the same one, whatever they are called."""
        return self.address, self.root

    @property
    def folder(self) -> str:
        """The instance's folder: who has made it has the host."""
        return f"{self.root}/machine"

    def offer(self) -> Offer:
        gpu = gpu_named(self.gpu)
        return Offer(
            offer_id=self.name,
            provider=PROVIDER,
            region="",
            gpu=gpu,
            gpu_count=self.gpu_count,
            usd_per_hour=self.usd_per_hour,
            machine=str(self.address),
            gpu_memory_gib=gpu.memory_gib,
            codec_gb_per_s=CPU_CODEC_GB_PER_S if gpu.name == "CPU" else CODEC_GB_PER_S,
            estimated=("inet_up_gbit_per_s", "inet_down_gbit_per_s"),
        )

    def to_json(self) -> dict[str, object]:
        """For `from_json`, in a file of ours."""
        return {
            "name": self.name,
            "address": str(self.address),
            "gpu": self.gpu,
            "gpu_count": self.gpu_count,
            "usd_per_hour": self.usd_per_hour,
            "root": self.root,
            "reach": self.reach,
            "keys": [str(path) for path in self.keys.files],
            "agent": self.keys.agent,
            "jump": str(self.jump) if self.jump else "",
            "sudo": self.sudo,
            "engine_python": self.engine_python,
        }

    @classmethod
    def from_json(cls, document: dict[str, object]) -> "SshHost":
        """Raises ValueError, KeyError, TypeError or SpecError for what `to_json` did not write."""
        given = dict(document)
        jump, files = str(given.pop("jump")), given.pop("keys")
        if not isinstance(files, list):
            raise TypeError("keys is no list")
        return cls(
            address=SshAddress.parse(str(given.pop("address"))),
            keys=SshKeys(tuple(Path(path) for path in files), bool(given.pop("agent"))),
            jump=SshAddress.parse(jump) if jump else None,
            **given,  # type: ignore[arg-type]
        )
