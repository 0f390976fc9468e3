"""The files of this machine that a spec names, which are read later in another folder, or on another host."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from thunderctl.spec.places import HERE

Change = Callable[[str, str], str]
"""A path, and what errors call its key → what is to stand there instead."""


def changed_files(document: dict[str, Any], change: Change) -> dict[str, Any]:
    """The spec's document with its paths changed: in place, and returned. Keys that are not stated stay so."""

    def one(section: dict[str, Any], key: str, what: str) -> None:
        if section.get(key):
            section[key] = change(section[key], what)

    engine = document.get("engine", {})
    one(document.get("workload", {}), "trace", "[workload] trace")
    one(engine, "chat_template", "[engine] chat_template")
    for name in engine.get("lora", {}):
        one(engine["lora"], name, f"[engine] lora.{name}")
    if Path(document.get("model", {}).get("name", "")).suffix == ".json":
        one(document["model"], "name", "[model] name")
    for name, host in document.get("ssh", {}).get("hosts", {}).items():
        one(host, "key", f"[ssh.hosts.{name}] key")
    return document


def from_root(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The document with paths that are the same wherever they are read; relative ones are meant of `folder`.

    Certificates for people stay as they are written where they are of another host.
    """

    def rooted(text: str, _: str = "") -> str:
        return str(folder.absolute() / _expanded(text))

    changed_files(document, rooted)
    model, serve = document.get("model", {}), document.get("serve", {})
    if "name" in model and (folder / _expanded(model["name"])).is_dir():
        model["name"] = rooted(model["name"])
    if serve.get("place", HERE) == HERE and document.get("controller", {}).get("where", HERE) == HERE:
        serve.update({key: rooted(serve[key]) for key in ("tls_cert", "tls_key") if serve.get(key)})
    return document


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # nobody is called so
        return Path(text)
