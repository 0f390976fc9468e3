"""The plan as a document: `thunder.plan/v1`, to JSON values and back."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, replace
from enum import StrEnum
from hashlib import sha256
from reprlib import repr as brief
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from planner.catalog import GpuCalibration, Offer
from planner.deployment import (
    Alternative,
    Bound,
    Codec,
    DemandSummary,
    Instance,
    Phase,
    Plan,
    Predicted,
    Replica,
    Route,
    SearchReport,
    Stage,
)
from planner.errors import SpecError
from planner.llm import LlmSpec
from planner.workload import Slo

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

PLAN_SCHEMA = "thunder.plan/v1"
OFFER_KEYS = (
    *("offer_id", "provider", "machine", "region", "network", "gpu_count", "usd_per_hour", "interruptible"),
    *("reliability", "disk_gb", "inet_down_gbit_per_s", "inet_up_gbit_per_s", "egress_usd_per_gb"),
    *("ingress_usd_per_gb", "nvlink", "available", "leasable"),
)
KINDS = {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """Values that `json.dumps` takes, keys in the schema's order."""
    whole = asdict(plan)
    llm = whole.pop("llm")
    whole["model"] = llm | {
        "weight_bytes": plan.llm.weight_bytes,
        "kv_bytes_per_token": plan.llm.kv_bytes_per_token,
    }
    whole["replicas"] = [_replica_to_json(replica) for replica in plan.replicas]
    whole["gpu_calibrations"] = {entry.pop("gpu"): entry for entry in whole.pop("calibrations")}
    order = ["plan_id", "created_at", "market_as_of", "market_source", "goal", "budget_usd_per_hour"]
    order += ["cost_usd_per_hour", "transfer_usd_per_hour", "startup_s", "startup_usd", "model", "max_model_len"]
    order += ["dtype", "workload", "slo", "instances", "replicas", "routes", "predicted", "bound", "search"]
    order += ["alternatives", "gpu_calibrations", "notes", "amends"]
    return {"schema": PLAN_SCHEMA} | {key: _plain(whole[key]) for key in order}


def plan_id(plan: Plan) -> str:
    """Twelve hex digits of the plan's content, when it was made included."""
    content = plan_to_json(replace(plan, plan_id="", search=replace(plan.search, seconds=0.0)))
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def plan_from_json(document: Mapping[str, Any]) -> Plan:
    """The plan of a document; SpecError names the schema, key or value that is wrong. Unknown keys are left out."""
    found = document.get("schema")
    if found != PLAN_SCHEMA:
        raise SpecError(f"The document's schema is {found!r}; expected {PLAN_SCHEMA!r}.", hint="Is this a plan?")
    values = {key: value for key, value in document.items() if key in _names(Plan)}
    values |= {
        "llm": _record(LlmSpec, document, "model"),
        "workload": _record(DemandSummary, document, "workload"),
        "slo": _record(Slo, document, "slo"),
        "instances": _records(Instance, document, "instances"),
        "replicas": tuple(_replica(entry, f"replicas[{i}]") for i, entry in _entries(document, "replicas")),
        "routes": tuple(_route(entry, f"routes[{i}]") for i, entry in _entries(document, "routes")),
        "predicted": _record(Predicted, document, "predicted"),
        "bound": _record(Bound, document, "bound"),
        "search": _record(SearchReport, document, "search"),
        "alternatives": _records(Alternative, document, "alternatives"),
        "calibrations": _calibrations(document),
    }
    return _built(Plan, values, "")


def offer_to_json(offer: Offer) -> dict[str, Any]:
    """One entry of `thunder.offers/v1`."""
    known = {key: getattr(offer, key) for key in OFFER_KEYS}
    return known | {
        "gpu": offer.gpu.name,
        "gpu_memory_gib": offer.memory_gib,
        "calibrated": offer.gpu.calibrated,
        "estimated": list(offer.estimated),
    }


def _replica_to_json(replica: Replica) -> dict[str, Any]:
    head = {"id": replica.id, "phase": replica.phase, "tp": replica.tp, "pp": replica.pp}
    return head | {key: value for key, value in asdict(replica).items() if key not in head}


def _plain(value: Any) -> Any:
    """Tuples become lists and string enums strings, all the way down."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, str) else value


def _replica(entry: Mapping[str, Any], where: str) -> Replica:
    stages = tuple(_built(Stage, stage, f"{where}.stages[{i}]") for i, stage in _entries(entry, "stages", where))
    replica = _built(Replica, {**entry, "stages": stages, "phase": _word(Phase, entry, "phase", where)}, where)
    _check_degree(entry, "tp", [len(stage.gpus) for stage in stages], where)
    _check_degree(entry, "pp", [len(stages)], where)
    return replica


def _check_degree(entry: Mapping[str, Any], key: str, counted: list[int], where: str) -> None:
    """A replica's degrees follow from its stages; a document that states others is wrong."""
    stated = _typed(entry[key], int, f"{where}.{key}") if key in entry else None
    differing = next((count for count in counted if stated is not None and count != stated), None)
    if differing is not None:
        raise SpecError(f"The plan's {where}.{key} is {stated}; expected {differing}, as its stages have.")


def _route(entry: Mapping[str, Any], where: str) -> Route:
    return _built(Route, {**entry, "codec": _word(Codec, entry, "codec", where)}, where)


def _word(words: type[E], entry: Mapping[str, Any], key: str, where: str) -> E:
    try:
        return words(entry[key])
    except KeyError:
        raise _missing(f"{where}.{key}") from None
    except ValueError:
        known = ", ".join(words)
        raise SpecError(f"The plan has {where}.{key} {brief(entry[key])}; expected one of {known}.") from None


def _calibrations(document: Mapping[str, Any]) -> tuple[GpuCalibration, ...]:
    """By GPU type; a plan without any has none."""
    known = document.get("gpu_calibrations", {})
    if not isinstance(known, Mapping) or not all(isinstance(entry, Mapping) for entry in known.values()):
        raise SpecError("The plan's gpu_calibrations are not an object of objects; expected coefficients by GPU type.")
    entries = known.items()
    return tuple(_built(GpuCalibration, {**entry, "gpu": gpu}, f"gpu_calibrations.{gpu}") for gpu, entry in entries)


def _record(cls: type[T], document: Mapping[str, Any], key: str) -> T:
    if key not in document:
        raise _missing(key)
    return _built(cls, document[key], key)


def _records(cls: type[T], document: Mapping[str, Any], key: str) -> tuple[T, ...]:
    return tuple(_built(cls, entry, f"{key}[{i}]") for i, entry in _entries(document, key))


def _entries(document: Mapping[str, Any], key: str, where: str = "") -> list[tuple[int, Mapping[str, Any]]]:
    name = f"{where}.{key}" if where else key
    if key not in document:
        raise _missing(name)
    entries = document[key]
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise SpecError(f"The plan's {name} is not a list of objects.", hint="Make a new plan with `thunderctl plan`.")
    return list(enumerate(entries))


def _built(cls: type[T], values: Any, where: str) -> T:
    """An instance of a dataclass from the values it knows, each of the type that its field states."""
    if not isinstance(values, Mapping):
        raise SpecError(f"The plan's {where} is {type(values).__name__}; expected an object.")
    absent = next((key for key in _required(cls) if key not in values), None)
    if absent is not None:
        raise _missing(f"{where}.{absent}".lstrip("."))
    known = {key: kind for key, kind in get_type_hints(cls).items() if key in values}
    typed = {key: _typed(values[key], kind, f"{where}.{key}".lstrip(".")) for key, kind in known.items()}
    try:
        return cls(**typed)
    except (ArithmeticError, ValueError) as error:
        raise SpecError(f"The plan's {where} is wrong: {error}") from error


def _typed(value: Any, kind: Any, where: str) -> Any:
    """The value, if it is of this kind; lists become tuples. A whole number is a number, true is not."""
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise SpecError(f"The plan's {where} is {brief(value)}; expected a list.")
        return tuple(_typed(entry, get_args(kind)[0], f"{where}[{i}]") for i, entry in enumerate(value))
    fits = isinstance(value, int | float if kind is float else kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise SpecError(f"The plan's {where} is {brief(value)}; expected {KINDS.get(kind, 'an object')}.")
    return value


def _names(cls: Any) -> list[str]:
    return [field.name for field in fields(cls)]


def _required(cls: Any) -> list[str]:
    return [field.name for field in fields(cls) if field.default is MISSING and field.default_factory is MISSING]


def _missing(key: str) -> SpecError:
    return SpecError(f"The plan has no {key}; expected it.", hint="Make a new plan with `thunderctl plan`.")
