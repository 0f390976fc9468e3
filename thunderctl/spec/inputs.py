"""What a spec names, read: its model, workload and files; and plans. Errors name the file."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planner.errors import SpecError

if TYPE_CHECKING:
    from planner.deployment import Codec, Plan
    from planner.llm import LlmSpec
    from planner.workload import Workload
    from thunderctl.spec.spec import Spec


def forced_codec(spec: "Spec") -> "Codec | None":
    """The codec that a spec wants on every route; None lets the planner choose one a route."""
    from planner.deployment import Codec

    return None if spec.kv.codec == "auto" else Codec(spec.kv.codec)


def read_llm(name: str, dtype: str = "") -> "LlmSpec":
    """A model by embedded name, by a folder that has a `config.json`, or by that file. Raises SpecError."""
    from planner.models import llm_from_config, llm_named

    path = Path(name)
    config = path / "config.json" if path.is_dir() else path
    if config.suffix == ".json":
        llm = llm_from_config(_read_json(config), config.resolve().parent.name, dtype)
        return replace(llm, repository=str(config.resolve().parent))
    return llm_named(name, dtype)


def read_workload(spec: "Spec") -> "Workload":
    """The preset or the trace a spec names, at the rate, burstiness and prefix hits it states."""
    from planner.traces import trace_from_csv, workload_named

    section = spec.workload
    if section.trace:
        workload = trace_from_csv(read_text(Path(section.trace)), section.trace).workload()
    else:
        workload = workload_named(section.preset)
    stream = replace(workload, burstiness=section.burstiness, prefix_hit_share=section.prefix_hit_share)
    return stream.at(section.rate_rps) if section.rate_rps else stream


def read_plan(path: Path) -> "Plan":
    """A plan from its JSON document. Raises SpecError naming the file."""
    from planner.document import plan_from_json
    from planner.validate import validate

    document = _read_json(path)
    try:
        plan = plan_from_json(document)
        validate(plan)
    except SpecError as error:
        raise SpecError(f"{path}: {error.message}", hint=error.hint) from error
    return plan


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise SpecError(f"{path}:{error.lineno}: not valid JSON: {error.msg}.") from error
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{path}: not usable JSON: {error}.") from error
    if not isinstance(document, dict):
        raise SpecError(f"{path} holds a {type(document).__name__}; expected a JSON object.")
    return document


def read_text(path: Path) -> str:
    """A file's text. Raises SpecError naming the file."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SpecError(f"{path} can't be read: {why}.") from error
