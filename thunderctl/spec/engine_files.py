"""Files of the spec that engines are started with: a chat template, LoRA adapters. Hosts get copies below files/.

A copy's name has its contents' digest in it: an engine that was started with another is seen to differ.
"""

from pathlib import Path

from planner.errors import SpecError
from provisioners.hosts.digests import contents_digest, files_below
from provisioners.hosts.wanted import Files
from thunderctl.spec.spec import Spec

FOLDER = "files"
DIGEST_CHARACTERS = 12
ADAPTER = "adapter_config.json"


def host_files(spec: Spec) -> Files:
    """Name below files/ → file of this machine. Raises SpecError."""
    engine = spec.engine
    files = {_template_name(engine.chat_template): Path(engine.chat_template)} if engine.chat_template else {}
    for name, folder in engine.lora.items():
        files |= {f"{_adapter_name(name, folder)}/{below}": path for below, path in _adapter(name, folder).items()}
    return files


def as_on_hosts(spec: Spec) -> Spec:
    """The spec with the names that these files have on hosts. Raises SpecError."""
    engine = spec.engine
    there = {
        "chat_template": engine.chat_template and f"{FOLDER}/{_template_name(engine.chat_template)}",
        "lora": {name: f"{FOLDER}/{_adapter_name(name, folder)}" for name, folder in engine.lora.items()},
    }
    return spec.model_copy(update={"engine": engine.model_copy(update=there)})


def _template_name(template: str) -> str:
    path = Path(template)
    if not path.is_file():
        raise SpecError(f"[engine] chat_template is {template!r}; expected a file that is there.")
    return f"chat-template-{contents_digest({'': path})[:DIGEST_CHARACTERS]}.jinja"


def _adapter_name(name: str, folder: str) -> str:
    return f"lora-{name}-{contents_digest(_adapter(name, folder))[:DIGEST_CHARACTERS]}"


def _adapter(name: str, folder: str) -> dict[str, Path]:
    if not name or "/" in name or name.startswith("."):
        raise SpecError(f"[engine] lora names an adapter {name!r}; expected a name without slashes.")
    path = Path(folder).expanduser()
    if not (path / ADAPTER).is_file():
        raise SpecError(f"[engine] lora.{name} is {folder!r}; expected a folder with {ADAPTER}.")
    return files_below(path)
