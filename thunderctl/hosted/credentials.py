"""What of this machine's environment a controller on another host needs, to lease there and to release."""

import shlex
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from thunderctl.store.address import read_address

if TYPE_CHECKING:
    from thunderctl.spec.spec import Spec

AWS_KEY, AWS_PROFILE = "AWS_ACCESS_KEY_ID", "AWS_PROFILE"
OF_PROVIDER = {
    "aws": (
        AWS_KEY,
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        AWS_PROFILE,
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
        "THUNDER_AWS_SPOT_FEED_URL",
    ),
    "runpod": ("RUNPOD_API_KEY", "RUNPOD_URL"),
    "vast": ("VAST_API_KEY", "VAST_URL"),
}
OF_MODELS = ("HF_TOKEN", "HF_ENDPOINT")
STORE = "THUNDER_DATABASE_URL"
SECRET = ("KEY", "TOKEN", STORE)
"""Names that have one of these in them let their bearer in somewhere."""


def asked_of(spec: "Spec", leased_at: Iterable[str]) -> frozenset[str]:
    """The providers that are asked from there: the spec's, and those where something is leased."""
    weights = ["aws"] if spec.model.weights.startswith("s3://") else []
    return frozenset((*spec.markets.providers, *leased_at, *weights))


def needed(spec: "Spec", leased_at: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Name → value: of the providers that are asked alone. Keys of AWS need no profile, which may not be there."""
    providers = asked_of(spec, leased_at)
    names = [name for provider, names in OF_PROVIDER.items() if provider in providers for name in names]
    if environment.get(AWS_KEY):
        names = [name for name in names if name != AWS_PROFILE]
    found = {name: environment[name] for name in (*names, *OF_MODELS) if environment.get(name)}
    if (url := environment.get(STORE)) and read_address(url).is_postgres:
        found[STORE] = url
    return found


def merged(there: Mapping[str, str], come: Mapping[str, str]) -> dict[str, str]:
    """What a host has, and what comes to it: instead of a profile, where that is AWS's keys."""
    kept = {name: value for name, value in there.items() if name != AWS_PROFILE or AWS_KEY not in come}
    return {**kept, **come}


def said(variables: Mapping[str, str], host: str, keys: Iterable[str] = (), *, asked: Container[str] = ("aws",)) -> str:
    """For people: what goes there, and what does not. `keys` are files of private SSH keys, `asked` providers."""
    secret = sorted(name for name in variables if any(word in name for word in SECRET))
    what = ", ".join((*secret, *(f"the SSH key {key}" for key in keys))) or "no credentials of any provider"
    line = (
        f"To {host} go, in files that only its user may read: {what}; the deployment's certificates, and the key that "
        "rented machines let in. Nothing of this goes on to rented machines."
    )
    if "AWS_SESSION_TOKEN" in secret:
        line += " AWS_SESSION_TOKEN expires, and without it nothing is released there: better use lasting keys."
    if profile := variables.get(AWS_PROFILE):
        line += f" Of AWS_PROFILE the name goes, {profile}: {host} has to have that profile in its own ~/.aws."
    elif "aws" in asked and AWS_KEY not in variables and (Path.home() / ".aws" / "credentials").exists():
        line += " ~/.aws/credentials stays here: for AWS export its keys, or have them on that host."
    return line


def environment_file(variables: Mapping[str, str]) -> bytes:
    """As a shell reads it."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in sorted(variables.items())).encode()


def read_environment(data: bytes) -> dict[str, str]:
    """What `environment_file` wrote: what was needed to lease is needed to release, though it is not set here now."""
    words = shlex.split(data.decode())
    return dict(word.split("=", 1) for word in words)
