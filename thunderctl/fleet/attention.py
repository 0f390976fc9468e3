"""Whom to look at first in a fleet, and those of it that were asked for. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from thunderctl.fleet.crowds import Document, machines_of, state_of

LOOK_AT = 12
FULL = 0.95
"""Of the KV cache: from there on requests wait for room in it."""
TROUBLE = ("failed", "unknown", "draining", "starting", "absent", "stopped")
"""States that are looked at first, the worst first; those not named come between."""


def first_to_look_at(replicas: Sequence[Document], most: int = LOOK_AT) -> list[Document]:
    """Those that are not ready, then those for which requests wait, then the fullest."""
    return sorted(replicas, key=_urgency)[:most]


def in_trouble(replicas: Iterable[Document]) -> list[Document]:
    """Those that are not ready, those for which requests wait, and those that are full."""
    found = [
        one for one in replicas if state_of(one) != "ready" or one.get("waiting") or (one.get("kv_usage") or 0) >= FULL
    ]
    return sorted(found, key=_urgency)


def machine_needs_a_look(one: Document) -> bool:
    return bool(one.get("problem")) or one.get("state") != "ready"


def narrowed(status: Document, wanted: str) -> Document:
    """With what holds `wanted` in its name, its machine's, its cards, its state: and the routes that end there."""
    if not wanted:
        return status
    machines = {one["id"]: one for one in status.get("instances") or ()}
    held = [one for one in status.get("replicas") or () if _holds(wanted, _words(one, machines))]
    ids = {one["id"] for one in held}
    routes = [one for one in status.get("routes") or () if one["prefill"] in ids or one["decode"] in ids]
    places = {name for one in held for name in machines_of(one)}
    shown = ids | {one[end] for one in routes for end in ("prefill", "decode")}
    return {
        **status,
        "replicas": [one for one in status.get("replicas") or () if one["id"] in shown],
        "routes": routes,
        "instances": [
            one for one in status.get("instances") or () if one["id"] in places or _holds(wanted, _machine_words(one))
        ],
        "awaited": [one for one in status.get("awaited") or () if _holds(wanted, _machine_words(one))],
    }


def _urgency(one: Document) -> tuple[Any, ...]:
    state = state_of(one)
    rank = len(TROUBLE) + 1 if state == "ready" else TROUBLE.index(state) if state in TROUBLE else 2
    return rank, -(one.get("waiting") or 0), -(one.get("kv_usage") or 0.0), one["id"]


def _holds(wanted: str, words: Iterable[object]) -> bool:
    return any(wanted in str(word).lower() for word in words)


def _words(one: Document, machines: Mapping[str, Document]) -> tuple[object, ...]:
    on = machines_of(one)
    return one["id"], one["phase"], state_of(one), *on, *(machines.get(name, {}).get("gpu", "") for name in on)


def _machine_words(one: Document) -> tuple[object, ...]:
    return one["id"], one["provider"], one["region"], one.get("gpu", ""), one.get("state", "awaited")
