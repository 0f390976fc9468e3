"""The spec as it is on the host that a deployment lives on: its controller is local there, and so are its files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from planner.errors import SpecError
from provisioners.hosts.digests import digest
from thunderctl.spec.spec import Spec
from thunderctl.spec.spec_files import changed_files

DIGEST_CHARACTERS = 12


@dataclass(frozen=True, slots=True)
class SpecThere:
    """`text` is TOML; `files` are those of this machine that it needs: path there → path here."""

    text: bytes
    files: Mapping[str, Path] = field(default_factory=dict)


def spec_there(spec: Spec, folder: str) -> SpecThere:
    """Whatever files it names are below `folder` there; certificates for people are that host's own.

    Raises SpecError for a file that is not here, and for a path that can't be meant of that host.
    """
    document, files = spec.model_dump(mode="json", exclude_unset=True, by_alias=True), dict[str, Path]()

    def sent(text: str, what: str) -> str:
        path = Path(text).expanduser()
        if not path.exists():
            raise SpecError(f"{what} is {text!r}; expected a file that is there.")
        name = f"{folder}/{digest(str(path.resolve()).encode())[:DIGEST_CHARACTERS]}/{path.name}"
        files[name] = path
        return name

    changed_files(document, sent)
    _check_certificates(spec)
    document.setdefault("controller", {})["where"] = "local"
    return SpecThere(toml(document).encode(), files)


def keys_sent(spec: Spec) -> list[str]:
    """The private SSH keys that the spec names, which go along."""
    return sorted({host.key for host in spec.ssh.hosts.values() if host.key})


def toml(document: Mapping[str, Any]) -> str:
    """A line for each section, as an inline table. JSON's strings and lists are TOML's."""
    return "".join(f"{json.dumps(name)} = {_value(value)}\n" for name, value in document.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(name)} = {_value(one)}" for name, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _check_certificates(spec: Spec) -> None:
    for key in ("tls_cert", "tls_key"):
        path = getattr(spec.serve, key)
        if path and not path.startswith("/"):
            raise SpecError(
                f"[serve] {key} is {path!r}, and the router is on another host; expected a path from that host's root."
            )
