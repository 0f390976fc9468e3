"""`[model] weights`: which of the places a model can come from is meant."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from planner.errors import SpecError
from provisioners.hosts.digests import digest

if TYPE_CHECKING:
    from planner.deployment import Plan
    from thunderctl.spec.spec import Spec

HUB = "hub"
LINK_CHARACTERS = 12


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """A folder of this machine: used in place by hosts that have the same at the same path, sent to the others."""

    path: Path


@dataclass(frozen=True, slots=True)
class OnHosts:
    """A path that every host has."""

    path: str


@dataclass(frozen=True, slots=True)
class Hub:
    """A repository of Hugging Face's hub, or of what HF_ENDPOINT names, at a branch, tag or commit."""

    repository: str
    revision: str


@dataclass(frozen=True, slots=True)
class Mirror:
    """A folder that an HTTPS server shows, with a SHA256SUMS file in it."""

    url: str


@dataclass(frozen=True, slots=True)
class Bucket:
    """The objects below a prefix of an S3 bucket, with a SHA256SUMS object among them."""

    bucket: str
    prefix: str


Source: TypeAlias = LocalFolder | OnHosts | Hub | Mirror | Bucket


def source_of(plan: "Plan", spec: "Spec") -> Source:
    """Where the plan's weights come from. Raises SpecError."""
    from thunderctl.hosts.engine_environment import local_model

    weights, llm = spec.model.weights, plan.llm
    if weights.startswith("/"):
        return OnHosts(weights)
    if weights.startswith("s3://"):
        bucket, _, prefix = weights.removeprefix("s3://").partition("/")
        return Bucket(bucket, prefix.strip("/"))
    if weights != HUB:
        return Mirror(weights.rstrip("/"))
    if (folder := local_model(plan)) is not None:
        return LocalFolder(folder)
    if "/" not in llm.repository or llm.repository.startswith((".", "/")):
        raise SpecError(
            f"The weights of {llm.name} are not on this host, and it names no repository of the hub.",
            hint="Name a folder (thunderctl plan --model DIR), or say where they are: [model] weights.",
        )
    return Hub(llm.repository, llm.revision)


def link_name(source: Source) -> str:
    """What engines call their model on hosts, where a link of this name leads to it: another source, another name."""
    return f"model-{digest(repr(source).encode())[:LINK_CHARACTERS]}"


def check_source(plan: "Plan", spec: "Spec") -> None:
    """Raise SpecError for weights that can't reach the plan's instances: this host downloads no model for itself."""
    source = source_of(plan, spec)
    if isinstance(source, Hub) and all(instance.provider == "local" for instance in plan.instances):
        raise SpecError(
            f"The weights of {plan.llm.name} are not on this host; expected a folder with config.json.",
            hint="Name a folder: thunderctl plan --model DIR. The shipped model is examples/tiny-llama in a checkout.",
        )
