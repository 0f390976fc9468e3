"""What the API says where it does not do what was asked: the error of `--json`, under a status that fits it."""

from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from planner.errors import (
    AuthError,
    HostError,
    Incomplete,
    Infeasible,
    ProvisioningError,
    Refused,
    SpecError,
    ThunderError,
)

STATUSES: tuple[tuple[type[ThunderError], int], ...] = (
    (SpecError, 400),
    (Infeasible, 422),
    (Refused, 409),
    (AuthError, 502),
    (ProvisioningError, 502),
    (HostError, 502),
    (Incomplete, 502),
)
"""The first that fits; what is left is the store's, or a bug in a command: 503 says that it may be asked again."""


@dataclass(frozen=True, slots=True)
class Refusal(Exception):
    """An answer that is none: its status, and why."""

    status: int
    kind: str
    message: str
    hint: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        return {"error": {"kind": self.kind, "message": self.message, "hint": self.hint}}

    def response(self) -> web.Response:
        return web.json_response(self.document(), status=self.status, headers=self.headers)


def refusal_of(error: ThunderError) -> Refusal:
    """The answer where an error of ours came up."""
    status = next((status for kind, status in STATUSES if isinstance(error, kind)), 503)
    return Refusal(status, error.kind, error.message, error.hint)
