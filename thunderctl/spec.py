"""`thunder.toml`: what the user wrote, checked key by key.

Every key is optional. An unknown key, a wrong type or a value out of range is one SpecError that names the file, the
line, the key, what was found and what was expected.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from planner.errors import SpecError
from planner.workload import LEAST_BURSTINESS, MOST_BURSTINESS

Positive = Annotated[float, Field(gt=0)]
PositiveInt = Annotated[int, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]

Dtype = Literal["bfloat16", "float16", "fp8", "awq", "gptq", "int4", "mxfp4"]

DEFAULT_PATH = Path("thunder.toml")


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSection(Section):
    name: str = "qwen3-32b"
    dtype: Dtype | Literal[""] = ""
    dtypes: tuple[Dtype, ...] = ()
    revision: str = "main"
    weights: Literal["hub"] = "hub"


class EngineSection(Section):
    max_model_len: PositiveInt = 8192
    chat_template: str = ""
    tool_parser: str = ""
    reasoning_parser: str = ""
    lora: dict[str, str] = {}
    served_name: str = ""
    extra_args: tuple[str, ...] = ()


class WorkloadSection(Section):
    preset: Literal["conversation", "coding"] = "conversation"
    trace: str = ""
    rate_rps: Positive | None = None
    burstiness: Annotated[float, Field(ge=LEAST_BURSTINESS, le=MOST_BURSTINESS)] = 1.0
    prefix_hit_share: Annotated[float, Field(ge=0, lt=1)] = 0.0


class SloSection(Section):
    ttft_s: Positive = 2.0
    tpot_s: Positive = 0.15
    attainment: Share = 0.9


class BudgetSection(Section):
    usd_per_hour: NotNegative = 14.0
    max_hours: Positive = 12
    max_total_usd: Positive = 150.0


class MarketsSection(Section):
    providers: tuple[Literal["vast", "aws", "runpod", "ssh", "local", "lambda"], ...] = ("vast", "aws", "runpod", "ssh")
    interruptible: Literal["allow", "only", "never"] = "allow"
    regions: tuple[str, ...] = ()
    min_reliability: Annotated[float, Field(ge=0, le=1)] = 0.95


class SshHostSection(Section):
    address: str
    gpu: str
    gpu_count: PositiveInt
    usd_per_hour: NotNegative = 0.0
    folder: str = "/var/tmp/thunderctl"
    reach: str = ""
    """Where agents are reached, if not at the host of `address`."""
    key: str = ""
    jump: str = ""
    sudo: bool = False
    engine_python: str = ""
    """There; empty: at the same path as here."""

    @field_validator("folder")
    @classmethod
    def _is_absolute(cls, folder: str) -> str:
        if not folder.startswith("/") or not folder.strip("/"):
            raise ValueError("it should be a path from the root, such as /var/tmp/thunderctl")
        return folder


class SshSection(Section):
    hosts: dict[str, SshHostSection] = {}


class KvSection(Section):
    codec: Literal["auto", "raw", "int8", "int4"] = "auto"
    boundary_layers: Annotated[int, Field(ge=0)] = 2
    pool_mib: PositiveInt | None = None
    """None: as much as the plan's longest prompts need (`thunderctl/engines.py`)."""


class ServeSection(Section):
    listen: str = "127.0.0.1:8000"
    place: Literal["local"] = "local"
    tls_cert: str = ""
    tls_key: str = ""
    deadline_s: Positive = 3600
    queue_s: Positive = 30
    access_log: bool = True

    @field_validator("listen")
    @classmethod
    def _is_host_and_port(cls, listen: str) -> str:
        host, _, port = listen.rpartition(":")
        if not host or not port.isdigit() or not 0 <= int(port) < 65536:
            raise ValueError("it should be HOST:PORT, such as 127.0.0.1:8000")
        return listen


class ControllerSection(Section):
    where: Literal["local"] = "local"


class LeasesSection(Section):
    settle_s: NotNegative = 90
    poll_s: Positive = 5
    ready_deadline_s: Positive = 1200
    deadman_s: Positive = 7200


class Spec(Section):
    """The whole of `thunder.toml`, defaults filled in."""

    model: ModelSection = ModelSection()
    engine: EngineSection = EngineSection()
    workload: WorkloadSection = WorkloadSection()
    slo: SloSection = SloSection()
    budget: BudgetSection = BudgetSection()
    markets: MarketsSection = MarketsSection()
    ssh: SshSection = SshSection()
    kv: KvSection = KvSection()
    serve: ServeSection = ServeSection()
    controller: ControllerSection = ControllerSection()
    leases: LeasesSection = LeasesSection()


def load_spec(path: Path | None = None) -> Spec:
    """Read `path`, or `./thunder.toml` where there is one, or take the defaults. Raises SpecError."""
    if path is None and not DEFAULT_PATH.exists():
        return _with_environment(Spec())
    path = path or DEFAULT_PATH
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SpecError(
            f"The spec {path} can't be read: {reason}.", hint="Write one with `thunderctl init`."
        ) from error
    return _with_environment(parse_spec(text, str(path)))


def parse_spec(text: str, name: str = "thunder.toml") -> Spec:
    """The spec in `text`; `name` is what errors call it."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        where = f"{name}:{line.group(1)}" if line else name
        raise SpecError(f"{where}: not valid TOML: {error}.") from error
    try:
        return Spec.model_validate(document)
    except ValidationError as error:
        raise SpecError(*_explain(error.errors()[0], text, name)) from error


def override_spec(spec: Spec, flags: Mapping[str, Mapping[str, Mapping[str, object]]]) -> Spec:
    """The spec with flags over it: flag → section → key → value, None where it was not given. Raises SpecError."""
    document = spec.model_dump(exclude_unset=True)
    for flag, sections in flags.items():
        for section, values in sections.items():
            given = {key: value for key, value in values.items() if value is not None}
            document[section] = document.get(section, {}) | given
            try:
                spec = Spec.model_validate(document)
            except ValidationError as error:
                raise SpecError(f"{flag} is {error.errors()[0]['input']}; {_expected(error.errors()[0])}.") from error
    return spec


def planning_changes(before: Spec, after: Spec) -> list[str]:
    """The sections that decide a plan and differ."""
    sections = ("model", "workload", "slo", "markets", "ssh")
    found = [name for name in sections if getattr(before, name) != getattr(after, name)]
    if before.budget.usd_per_hour != after.budget.usd_per_hour:
        found.append("budget.usd_per_hour")
    if before.engine.max_model_len != after.engine.max_model_len:
        found.append("engine.max_model_len")
    if before.kv.codec != after.kv.codec:
        found.append("kv.codec")
    return found


def _with_environment(spec: Spec) -> Spec:
    """Every key of [leases] may be set by `THUNDER_LEASES_<KEY>`."""
    names = {f"THUNDER_LEASES_{key.upper()}": key for key in LeasesSection.model_fields}
    given = {name: {"leases": {key: os.environ[name]}} for name, key in names.items() if os.environ.get(name)}
    return override_spec(spec, given)


def _explain(error: ErrorDetails, text: str, name: str) -> tuple[str]:
    keys = [part for part in error["loc"] if isinstance(part, str)]
    where = f"{name}:{_line_of(keys, text)}: {_dotted(keys)}"
    if error["type"] == "extra_forbidden":
        known = _known_keys(keys[:-1])
        close = difflib.get_close_matches(keys[-1], known, n=1)
        suggestion = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}."
        return (f"{where} is not a key; {suggestion}",)
    if error["type"] == "missing":
        return (f"{where} is missing; every one of [{'.'.join(keys[:-1])}] needs it.",)
    return (f"{where} is {error['input']!r}; {_expected(error)}.",)


def _expected(error: ErrorDetails) -> str:
    message = error["msg"].removeprefix("Value error, ")
    return (message[0].lower() + message[1:]).replace("input should", "it should")


def _dotted(keys: list[str]) -> str:
    return f"[{'.'.join(keys[:-1])}] {keys[-1]}" if len(keys) > 1 else f"[{keys[0]}]"


def _known_keys(sections: list[str]) -> list[str]:
    model: Any = Spec
    for section in sections:
        field = model.model_fields.get(section)
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            return list(SshHostSection.model_fields)
        model = field.annotation
    return list(model.model_fields)


def _line_of(keys: list[str], text: str) -> int:
    """The line where the key stands; that of its section's heading where the key is missing."""
    section, found = "", 1
    wanted = ".".join(keys[:-1])
    for number, line in enumerate(text.splitlines(), start=1):
        heading = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line)
        if heading and "=" not in line.split("#")[0].split("]")[0]:
            section = heading.group(1).replace('"', "")
            if section in (wanted, ".".join(keys)):
                found = number
            continue
        assigned = re.match(r"\s*\"?([\w.-]+)\"?\s*=", line)
        if assigned:
            here = f"{section}.{assigned.group(1)}".strip(".")
            if any(here == ".".join(keys[:depth]) for depth in range(len(keys), 0, -1)):
                return number
    return found
