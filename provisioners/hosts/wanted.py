"""What an instance shall have. The same again needs no command, so it must not differ without a reason."""

import posixpath
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeAlias

from provisioners.hosts.cards import WITHOUT_GPUS, Gpus, cards_for_engines
from provisioners.hosts.digests import contents_digest, digest, files_below
from provisioners.hosts.facts import EngineFact, Facts

KEY_CHARACTERS = 16
"""Of a digest that names a folder."""
CUDA, CPU = "cuda", "cpu"


@dataclass(frozen=True, slots=True)
class HostScripts:
    """The texts of the templates that are sent to hosts, by what they do."""

    probe: str
    make_environment: str
    agent: str
    agent_service: str
    start_agent: str
    stop_agent: str


@dataclass(frozen=True, slots=True)
class Environment:
    """The interpreter that engines run on: `given`, where the host has that with the wanted vLLM, else one made there.

    `lock` is a hashed requirements file (empty: none is made), `arguments` are uv's beside it, `uv` a Linux x86-64
    binary of it. With `managed_python` uv brings its own, with the headers that Triton compiles against. `vllm` is how
    the version of the wanted vLLM begins, `proof` Python that fails where the environment does not work. `disk_gb` is
    what it takes.
    """

    given: str = ""
    lock: bytes = field(default=b"", repr=False)
    vllm: str = ""
    arguments: tuple[str, ...] = ()
    uv: Callable[[], Path] | None = field(default=None, repr=False)
    python: str = "3.11"
    managed_python: bool = False
    proof: str = ""
    device: str = CUDA
    disk_gb: float = 0.0

    @property
    def key(self) -> str:
        """Names its folder on the host, which all instances there share."""
        return _key(self.lock, (self.python, str(self.managed_python), self.proof, *self.arguments))

    def suits(self, found: EngineFact) -> bool:
        """Whether engines can run on an interpreter that was found."""
        return bool(found.python) and bool(found.vllm) and found.vllm.startswith(self.vllm)


@cache
def _key(lock: bytes, how: tuple[str, ...]) -> str:
    return digest(b"\n".join((*(word.encode() for word in how), lock)))[:KEY_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Download:
    """Files that the host fetches by itself. `job` makes what `runtime/weights` reads; `note` is said to people."""

    job: Callable[[], Awaitable[bytes]] = field(repr=False)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Upload:
    """A folder of this machine, sent file by file: those of its files that are named, or all where none is."""

    folder: Path
    names: tuple[str, ...] = ()

    @property
    def files(self) -> dict[str, Path]:
        """Name below the folder → file."""
        files = files_below(self.folder)
        return {name: files[name] for name in self.names or files if name in files}


@dataclass(frozen=True, slots=True)
class Model:
    """The model's folder: `path`, where the host has that, else one that all instances there share, from `source`.

    `link` is what engines call it: a link of this name in the instance's folder leads to its files. `sizes` is the
    `sizes_digest` that `path` must have (empty: a config.json will do). `key` names the shared folder.
    """

    path: str = ""
    link: str = "model"
    sizes: str = ""
    key: str = ""
    source: Download | Upload | None = None
    disk_gb: float = 0.0

    @property
    def wanted(self) -> bool:
        return bool(self.path or self.key)

    def is_at_path(self, facts: Facts) -> bool:
        return bool(self.path and facts.model) and self.sizes in ("", facts.model)


Files: TypeAlias = Mapping[str, bytes | Path]


@dataclass(frozen=True, slots=True)
class HostSpec:
    """One instance as it shall be.

    `name` is the lease's, `folder` the instance's absolute one. `payload` is our code as tar.gz and `payload_digest`
    its digest; `agent_config` the bytes of agent.json; `tls` the files of tls/ by name, `files` those of files/ that
    engines are started with. `port` is where the agent listens (0: anywhere free); `supervised_by_systemd` that it may
    become a unit where systemd runs. `switched`: it bills, and ends itself when nobody speaks to it.
    """

    name: str
    folder: str
    environment: Environment
    payload: bytes = field(repr=False)
    payload_digest: str
    agent_config: bytes = field(repr=False)
    tls: Mapping[str, bytes] = field(repr=False)
    scripts: HostScripts = field(repr=False)
    model: Model = Model()
    gpus: Gpus = WITHOUT_GPUS
    files: Files = field(default_factory=dict, repr=False)
    port: int = 0
    supervised_by_systemd: bool = False
    switched: bool = False

    @property
    def shared(self) -> str:
        """Beside the instance's folder: what its successors on the same host find again."""
        return posixpath.join(posixpath.dirname(self.folder.rstrip("/")), "shared")

    @property
    def made_environment(self) -> str:
        return f"{self.shared}/engines/{self.environment.key}"

    @property
    def made_python(self) -> str:
        return f"{self.made_environment}/bin/python" if self.environment.lock else ""

    @property
    def models(self) -> str:
        return f"{self.shared}/models"

    @property
    def made_model(self) -> str:
        return f"{self.models}/{self.model.key}" if self.model.key else ""

    @property
    def uploads(self) -> str:
        """Where an uploaded model lies until it is whole, below the instance's folder."""
        return f"uploads/{self.model.key}" if isinstance(self.model.source, Upload) else ""

    @property
    def probe_arguments(self) -> tuple[str, ...]:
        """What `templates/probe.sh` is to look at."""
        made = (self.made_python, self.model.path, self.made_model, self.uploads, self.shared)
        return (self.environment.given, *made, self.model.link)

    def python(self, facts: Facts) -> str:
        """The interpreter that its engines run on, there already or not."""
        return self.environment.given if self.environment.suits(facts.given) else self.made_python

    def model_folder(self, facts: Facts) -> str:
        """Where its model's files lie, there already or not."""
        return self.model.path if self.model.is_at_path(facts) or not self.model.key else self.made_model

    def cards(self, facts: Facts) -> tuple[str, ...]:
        """The UUIDs of its GPUs, by which engines are told theirs; none where those were not offered."""
        return cards_for_engines(facts.gpus, self.gpus)

    def agent_digest(self, facts: Facts) -> str:
        """Of all that a running agent depends on: one that was started with another is stopped and started."""
        config, tls = digest(self.agent_config), contents_digest(self.tls)
        parts = (self.python(facts), self.payload_digest, config, tls, *self.cards(facts))
        return digest("\n".join(parts).encode())
