"""Many replicas as few: those alike in phase, cards and layout as one, and the routes between them as one. Pure.

Of a fleet of hundreds nobody reads a line for each. A crowd is written as the status document writes a replica, so
what draws replicas and routes draws crowds as well. Who is to be looked at is named beside them (`attention.py`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median_low
from typing import Any

MOST_ALONE, MOST_ROUTES = 60, 300
"""Of more replicas or machines, or routes between them, crowds are drawn."""
MOST_KINDS = 10
"""Crowds of a phase; what is left are the others of that phase."""
MOST_CODECS = 2
OTHERS = "others"

Document = Mapping[str, Any]


def is_crowded(status: Document) -> bool:
    """Whether there is more than anybody reads one by one."""
    return len(status.get("replicas") or ()) > MOST_ALONE or len(status.get("routes") or ()) > MOST_ROUTES


def crowds_of(status: Document) -> dict[str, Any]:
    """The status, or a plan, with crowds in place of replicas, and with their routes and machines.

    A crowd has the fields of a replica, summed up, and `kind`, `count`, `ready`, and `members` beside them.
    """
    machines = {one["id"]: one for one in status.get("instances") or ()}
    kinds = _kinds(status.get("replicas") or (), machines)
    held: dict[tuple[str, str], list[Document]] = defaultdict(list)
    for one in status.get("replicas") or ():
        held[str(one["phase"]), kinds[one["id"]]].append(one)
    crowds = [_crowd(phase, kind, members) for (phase, kind), members in sorted(held.items(), key=_by_size)]
    crowd_of = {member: one for one in crowds for member in one["members"]}
    places = _places(crowds)
    return {
        **status,
        "replicas": crowds,
        "routes": _routes(status.get("routes") or (), crowd_of),
        "instances": [{"id": kind, "note": _machines(len(names))} for kind, names in places.items()],
    }


def machine_crowds(machines: Iterable[Document]) -> list[dict[str, Any]]:
    """Machines alike in cards, provider and region: how many, in which states, and what they cost together."""
    held: dict[tuple[Any, ...], list[Document]] = defaultdict(list)
    for one in machines:
        held[one.get("gpu", ""), one.get("gpu_count", 0), one["provider"], one["region"]].append(one)
    found = [
        {
            "gpu": gpu,
            "gpu_count": count,
            "provider": provider,
            "region": region,
            "count": len(members),
            "states": Counter(str(one.get("state", "awaited")) for one in members),
            "problems": sum(bool(one.get("problem")) for one in members),
            "usd_per_hour": sum(one["usd_per_hour"] for one in members),
            "expires_at": min((one["expires_at"] for one in members if one.get("expires_at")), default=None),
        }
        for (gpu, count, provider, region), members in held.items()
    ]
    return sorted(found, key=lambda one: (-one["count"], one["gpu"], one["provider"], one["region"]))


def _kinds(replicas: Sequence[Document], machines: Mapping[str, Document]) -> dict[str, str]:
    """By id; of each phase the most frequent ones, and the others."""
    found = {one["id"]: _kind(one, machines) for one in replicas}
    counts = Counter((str(one["phase"]), found[one["id"]]) for one in replicas)
    kept = {pair for phase in {phase for phase, _ in counts} for pair in _most_of(phase, counts)}
    return {one["id"]: kind if (str(one["phase"]), kind := found[one["id"]]) in kept else OTHERS for one in replicas}


def _most_of(phase: str, counts: Counter[tuple[str, str]]) -> list[tuple[str, str]]:
    of_phase = [pair for pair in counts if pair[0] == phase]
    ordered = sorted(of_phase, key=lambda pair: (-counts[pair], pair[1]))
    return ordered if len(ordered) <= MOST_KINDS else ordered[: MOST_KINDS - 1]


def _kind(one: Document, machines: Mapping[str, Document]) -> str:
    """`A40 TP 2`, `A40 TP 2 PP 2`."""
    cards = {str(machines.get(name, {}).get("gpu") or "") for name in machines_of(one)} - {""}
    layout = [
        f"{name.upper()} {one[name]}" for name in ("tp", "pp") if one.get(name) and (name == "tp" or one[name] > 1)
    ]
    return " ".join([*(["+".join(sorted(cards))] if cards else []), *layout]) or "no machine"


def _crowd(phase: str, kind: str, members: Sequence[Document]) -> dict[str, Any]:
    ready = [one for one in members if state_of(one) == "ready"]
    usages = [one["kv_usage"] for one in ready if one.get("kv_usage") is not None]
    whole = len(ready) == len(members)
    return {
        "id": f"{kind} {phase}",
        "kind": kind,
        "name": f"{len(members)} replica{'s' * (len(members) > 1)}",
        "phase": phase,
        "state": "ready" if whole else f"{len(ready)} of {len(members)} ready",
        "detail": "",
        "instances": [kind],
        "places": sorted({name for one in members for name in machines_of(one)}),
        "count": len(members),
        "ready": len(ready),
        "members": [one["id"] for one in members],
        "tp": members[0].get("tp"),
        "pp": members[0].get("pp"),
        "capacity_rps": sum(one.get("capacity_rps") or 0.0 for one in members) or None,
        "running": sum(one.get("running") or 0 for one in members),
        "waiting": sum(one.get("waiting") or 0 for one in members),
        "max_requests": sum(one.get("max_requests") or 0 for one in members) or None,
        "kv_usage": fmean(usages) if usages else None,
    }


def _by_size(item: tuple[tuple[str, str], Sequence[Document]]) -> tuple[Any, ...]:
    (phase, kind), members = item
    return kind == OTHERS, -len(members), kind, phase


def _routes(routes: Iterable[Document], crowd_of: Mapping[str, Document]) -> list[dict[str, Any]]:
    """What replicas of one crowd hand over among themselves, or do alone, is a route of the crowd to itself."""
    held: dict[tuple[str, str], list[Document]] = defaultdict(list)
    for one in routes:
        if one["prefill"] in crowd_of and one["decode"] in crowd_of:
            held[crowd_of[one["prefill"]]["id"], crowd_of[one["decode"]]["id"]].append(one)
    found = [_route(members, crowd_of) for members in held.values()]
    return sorted(found, key=lambda one: -one["share"])


def _route(members: Sequence[Document], crowd_of: Mapping[str, Document]) -> dict[str, Any]:
    prefill, decode = (crowd_of[members[0][end]] for end in ("prefill", "decode"))
    shares: dict[str, float] = defaultdict(float)
    for one in members:
        shares[str(one["codec"])] += one["share"]
    most = sorted(shares, key=lambda codec: (-shares[codec], codec))
    return {
        "prefill": prefill["id"],
        "prefill_kind": prefill["kind"],
        "decode": decode["id"],
        "decode_kind": decode["kind"],
        "share": sum(one["share"] for one in members),
        "codec": "+".join(most) if len(most) <= MOST_CODECS else f"{most[0]}+{len(most) - 1}",
        "count": len(members),
        "measured_gbit_per_s": _median(members, "measured_gbit_per_s"),
        "planned_gbit_per_s": _median(members, "planned_gbit_per_s"),
    }


def _median(routes: Iterable[Document], key: str) -> float | None:
    known = [one[key] for one in routes if one.get(key) is not None]
    return median_low(known) if known else None


def _places(crowds: Iterable[Document]) -> dict[str, set[str]]:
    """The machines of each kind."""
    found: dict[str, set[str]] = defaultdict(set)
    for one in crowds:
        found[one["kind"]].update(one["places"])
    return found


def _machines(count: int) -> str:
    return f"{count} machine{'' if count == 1 else 's'}" if count else ""


def machines_of(one: Document) -> tuple[str, ...]:
    """A plan names them by its stages."""
    return tuple(one.get("instances") or dict.fromkeys(stage["instance"] for stage in one.get("stages") or ()))


def state_of(one: Document) -> str:
    return str(one.get("state", "ready"))
