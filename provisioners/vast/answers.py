"""What an answer of Vast.ai means: the id of a machine it made, or the error that says what to do next."""

from collections.abc import Mapping
from typing import Any

from planner.errors import AuthError, NoCapacity, OutcomeUnknown, ProvisioningError, RateLimited
from provisioners.rest import REFUSALS

TAKEN = frozenset({"no_such_ask"})
GONE = frozenset({"no_such_instance", "not_found"})
CREDENTIALS = frozenset({"auth_error"})
OUR_MISTAKE = frozenset({"invalid_args", "invalid_price"})
QUOTED_CHARACTERS = 200


def body_of(response: Any) -> Any:
    """The JSON of a `requests.Response`, else its text."""
    try:
        return response.json()
    except ValueError:
        return str(response.text)


def contract_of(body: Any) -> int | None:
    """The id of the machine that a create made, whether the answer calls that a success or not."""
    contract = body.get("new_contract") if isinstance(body, Mapping) else None
    return contract if isinstance(contract, int) and not isinstance(contract, bool) else None


def word_of(body: Any) -> str:
    """Vast's own word for what went wrong; empty where there is none."""
    return str(body.get("error") or "") if isinstance(body, Mapping) else ""


def said(body: Any) -> str:
    """What an answer says, for an error message."""
    text = " ".join(filter(None, (word_of(body), str(body.get("msg") or "")))) if isinstance(body, Mapping) else ""
    return (text or str(body)).strip()[:QUOTED_CHARACTERS]


def refusal(doing: str, status: int, body: Any) -> ProvisioningError:
    """The error for an answer that is no success: `doing` is what was asked, as in "Renting ask 7".

    Status 0 stands for no answer at all.
    """
    answer = f"answered {status}, {said(body)!r}" if status else f"gave no answer that can be read: {said(body)}"
    message = f"{doing}: Vast.ai {answer}."
    word = word_of(body)
    if status in (401, 403) or word in CREDENTIALS:
        return AuthError(message, hint="Check VAST_API_KEY: cloud.vast.ai, Account, API keys.")
    if status == 429:
        daily = word == "search_quota_exceeded"
        return RateLimited(message, hint="The day's searches are used up; they are counted anew at 00:00 UTC." * daily)
    if word in TAKEN:
        return NoCapacity(message, hint="Somebody else rented it. Plan again.")
    return ProvisioningError(message)


def create_refusal(doing: str, status: int, body: Any) -> ProvisioningError:
    """The error for a create that named no machine: a clear no where Vast says one, else nothing is known."""
    clear = status in REFUSALS or word_of(body) in TAKEN | CREDENTIALS | OUR_MISTAKE
    return refusal(doing, status, body) if clear else unknown(doing, f"it answered {status}, {said(body)!r}")


def unknown(doing: str, why: str) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"{doing}: whether Vast.ai made a machine is not known: {why[:QUOTED_CHARACTERS]}.",
        hint="It counts as costing until a listing tells: run the command again.",
    )
