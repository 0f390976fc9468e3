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
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from planner.errors import SpecError
from thunderctl.spec.sections import (
    BudgetSection,
    ControllerSection,
    EngineSection,
    KvSection,
    LeasesSection,
    MarketsSection,
    ModelSection,
    Section,
    ServeSection,
    SloSection,
    SshSection,
    WorkloadSection,
)
from thunderctl.spec.spec_files import from_root

DEFAULT_PATH = Path("thunder.toml")


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
    """Read `path`, or `./thunder.toml` where there is one, or take the defaults. Raises SpecError.

    Paths in it are meant of the folder that it lies in, and come from the root: a controller reads them elsewhere.
    """
    if path is None and not DEFAULT_PATH.exists():
        return _with_environment(Spec())
    path = path or DEFAULT_PATH
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SpecError(
            f"The spec {path} can't be read: {reason}.", hint="Write one with `thunderctl init`."
        ) from error
    return _with_environment(with_files_of(parse_spec(text, str(path)), path.parent))


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


def with_files_of(spec: Spec, folder: Path) -> Spec:
    """The spec with the relative paths in it as they are meant in a folder."""
    return Spec.model_validate(from_root(spec.model_dump(exclude_unset=True), folder))


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
    """The sections that decide a plan and differ. Relative paths, as older versions stored them, are of this folder."""
    before, after = (with_files_of(spec, Path()) for spec in (before, after))
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
    names = {key: f"THUNDER_LEASES_{key.upper()}" for key in LeasesSection.model_fields}
    given = {key: os.environ[name] for key, name in names.items() if os.environ.get(name)}
    document = spec.model_dump(exclude_unset=True)
    try:  # all at once: what one key may be depends on another
        return Spec.model_validate(document | {"leases": document.get("leases", {}) | given}) if given else spec
    except ValidationError as error:
        first = error.errors()[0]
        raise SpecError(f"{names[str(first['loc'][-1])]} is {first['input']}; {_expected(first)}.") from error


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
        if field is None:  # a name that the user chose, such as a host's
            break
        kinds = (field.annotation, *get_args(field.annotation))
        model = next((one for one in kinds if isinstance(one, type) and issubclass(one, BaseModel)), model)
    return [field.alias or name for name, field in model.model_fields.items()]


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
