"""What of this machine's environment a controller on another host needs, to lease there and to release."""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from thunderctl.store.address import read_address

if TYPE_CHECKING:
    from thunderctl.spec import Spec

OF_PROVIDER = {
    "aws": (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
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


def needed(spec: "Spec", leased_at: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Name → value: of the spec's providers and of those where something is leased, and no other."""
    providers = {*spec.markets.providers, *leased_at, *(["aws"] if spec.model.weights.startswith("s3://") else [])}
    names = [name for provider, names in OF_PROVIDER.items() if provider in providers for name in names]
    found = {name: environment[name] for name in (*names, *OF_MODELS) if environment.get(name)}
    if (url := environment.get(STORE)) and read_address(url).is_postgres:
        found[STORE] = url
    return found


def said(names: Iterable[str], host: str, keys: Iterable[str] = ()) -> str:
    """For people: what goes there, and what does not. `keys` are files of private SSH keys."""
    secret = sorted(name for name in names if any(word in name for word in SECRET))
    what = ", ".join((*secret, *(f"the SSH key {key}" for key in keys))) or "no credentials of any provider"
    line = (
        f"To {host} go, in files that only its user may read: {what}; the deployment's certificates, and the key that "
        "rented machines let in. Nothing of this goes on to rented machines."
    )
    if "AWS_SESSION_TOKEN" in secret:
        line += " AWS_SESSION_TOKEN expires, and without it nothing is released there: better use lasting keys."
    if "AWS_ACCESS_KEY_ID" not in secret and (Path.home() / ".aws" / "credentials").exists():
        line += " ~/.aws/credentials stays here: for AWS export its keys, or have them on that host."
    return line


def environment_file(variables: Mapping[str, str]) -> bytes:
    """As a shell reads it."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in sorted(variables.items())).encode()


def read_environment(data: bytes) -> dict[str, str]:
    """What `environment_file` wrote: what was needed to lease is needed to release, though it is not set here now."""
    words = shlex.split(data.decode())
    return dict(word.split("=", 1) for word in words)
