"""Vast.ai's SDK behind our own verbs and errors: the only module that imports it.

The SDK sends a request again by itself unless `retry` is 1, whatever the verb: a create whose answer was lost would be
sent three times. So it never retries here; reads are repeated by us. It raises for HTTP errors and drops what they say,
so answers are read from its exceptions. It blocks, so every call runs in a worker thread.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from planner.errors import AuthError, ProvisioningError
from provisioners.base import key_mark
from provisioners.pacer import Pacer
from provisioners.vast.answers import (
    GONE,
    body_of,
    contract_of,
    create_refusal,
    refusal,
    said,
    unknown,
    word_of,
)

ANSWER_S = 30.0
SEARCH_S, SEARCHES_AT_ONCE = 6.0, 8
CREATE_S, DESTROY_S = 4.7, 3.2
"""Searches are counted by address, about 10 a minute; creates and destroys by account, one in 4.5 s and in 3 s. Both
have some room: requests overtake each other on the way."""
READ_AGAIN_AFTER_S = (1.0, 4.0)
MOST_OFFERS = 3000
PAGE_ROWS = 25
"""The most that the v1 list gives at once."""


@dataclass(frozen=True, slots=True)
class Paces:
    """Whose turn it is. Shared by everything that uses one account."""

    searches: Pacer = field(default_factory=lambda: Pacer(SEARCH_S, burst=SEARCHES_AT_ONCE))
    creates: Pacer = field(default_factory=lambda: Pacer(CREATE_S))
    destroys: Pacer = field(default_factory=lambda: Pacer(DESTROY_S))
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(frozen=True, slots=True)
class Order:
    """What is to run on a machine. `bid_usd_per_hour` is for its GPUs alone; None rents on demand."""

    image: str
    disk_gb: float
    label: str
    environment: Mapping[str, str]
    onstart: str
    bid_usd_per_hour: float | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A machine that a create made; `problem` where the answer called that a failure."""

    instance_id: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status and what came with it; status 0 where none came, or none that can be read."""

    status: int
    body: Any

    @property
    def passing(self) -> bool:
        """Whether asking again soon may go better."""
        return self.status in (0, 429) or self.status >= 500


class VastClient:
    """One account at Vast.ai, or nobody's (no key): then there are offers to read, and nothing else."""

    def __init__(self, api_key: str | None, *, url: str | None = None, paces: Paces | None = None) -> None:
        try:
            from vastai import VastAI
        except ImportError as error:
            raise ProvisioningError(
                "Vast.ai's SDK is not installed.", hint="In a checkout: pip install '.[vast]'"
            ) from error
        logging.getLogger("vastai").setLevel(logging.ERROR)
        self._sdk = VastAI(api_key=api_key or "", server_url=url, retry=1)
        self._sdk.client.timeout = ANSWER_S
        if not api_key:
            self._sdk.client.api_key = None  # else an empty bearer is sent, and refused
        self._paces = paces or Paces()
        self._api_key, self._account = api_key or "", ""
        self._asked: asyncio.Task[str] | None = None

    async def search(self, filters: Mapping[str, Any], *, interruptible: bool, disk_gb: float) -> list[dict[str, Any]]:
        """The bundles that pass `filters` (raw API units), cheapest first, priced with that much storage."""

        def call() -> Any:
            return self._sdk.search_offers(
                query={name: dict(test) for name, test in filters.items()},  # the SDK writes into what it is given
                type="bid" if interruptible else "on-demand",
                order="dph_total",
                limit=MOST_OFFERS,
                storage=disk_gb,
                no_default=True,
            )

        found = await self._read("Searching offers", call, self._paces.searches)
        if not isinstance(found, list):
            raise ProvisioningError(f"Searching offers: Vast.ai sent a {type(found).__name__}; expected a list.")
        return found

    async def create(self, ask_id: int, order: Order) -> Made:
        """Rent the ask: sent once, whatever happens."""
        doing = f"Renting ask {ask_id}"
        await self._paces.creates.turn()
        answer = await _asked(
            lambda: self._sdk.create_instance(
                id=ask_id,
                image=order.image,
                disk=order.disk_gb,
                label=order.label,
                env=dict(order.environment),
                onstart_cmd=order.onstart,
                ssh=True,
                direct=True,
                cancel_unavail=True,
                bid_price=order.bid_usd_per_hour,
            )
        )
        _note(answer, self._paces.creates)
        succeeded = answer.status == 200 and isinstance(answer.body, Mapping) and answer.body.get("success") is True
        if (contract := contract_of(answer.body)) is not None:
            return Made(contract, "" if succeeded else f"made, and called a failure: {said(answer.body)}")
        if succeeded or not answer.status:
            raise unknown(doing, said(answer.body))
        raise create_refusal(doing, answer.status, answer.body)

    async def account(self) -> str:
        """The number of the account, asked for once for all; a mark of the key where that may not read it."""
        if self._account:
            return self._account
        if self._asked is None or self._asked.done():
            self._asked = asyncio.create_task(self._ask_account())
        return await asyncio.shield(self._asked)

    async def _ask_account(self) -> str:
        doing = "Asking which account the key is of"
        try:
            user = await self._read(doing, self._sdk.show_user)
        except AuthError:
            return key_mark(self._api_key)
        if not isinstance(user, Mapping) or not user.get("id"):
            raise ProvisioningError(f"{doing}: Vast.ai named none.")
        self._account = str(user["id"])
        return self._account

    async def page(self, after: str | None) -> Any:
        """One page of the account's instances as the v1 list gives it, in the order of their ids."""
        asked = {"select_filters": {}, "order_by": [{"col": "id", "dir": "asc"}], "limit": PAGE_ROWS}
        if after is not None:
            asked["after_token"] = after
        return await self._read("Listing instances", lambda: self._sdk.show_instances_v1(asked))

    async def destroy(self, instance_id: int) -> None:
        """Ask that it be destroyed; one that is gone is as good."""
        await self._paces.destroys.turn()
        answer = await _asked(lambda: self._sdk.destroy_instance(instance_id))
        _note(answer, self._paces.destroys)
        failed = isinstance(answer.body, Mapping) and answer.body.get("success") is False
        if word_of(answer.body) not in GONE and (answer.status != 200 or failed):
            raise refusal(f"Destroying instance {instance_id}", answer.status, answer.body)

    async def attach_ssh_key(self, instance_id: int, public_key: str) -> None:
        """Let this key in through Vast's own SSH proxy too, which knows no others; giving it again changes nothing."""
        doing = f"Giving instance {instance_id} an SSH key"
        await self._read(doing, lambda: self._sdk.attach_ssh(instance_id, public_key))

    async def pending_price_rises(self) -> Any:
        """What hosts want more for from the next renewal on, as Vast states it."""
        return await self._read("Listing price rises", self._sdk.show_pending_price_increases)

    async def _read(self, doing: str, call: Callable[[], Any], pacer: Pacer | None = None) -> Any:
        """Ask, and ask again where that may help. Only for calls that may be made twice."""
        for pause_s in (*READ_AGAIN_AFTER_S, None):
            if pacer is not None:
                await pacer.turn()
            answer = await _asked(call)
            if pacer is not None:
                _note(answer, pacer)
            if answer.status == 200:
                return answer.body
            if pause_s is None or not answer.passing or word_of(answer.body) == "search_quota_exceeded":
                break
            await self._paces.sleep(pause_s)
        raise refusal(doing, answer.status, answer.body)


async def _asked(call: Callable[[], Any]) -> Answer:
    return await asyncio.to_thread(_answer, call)


def _answer(call: Callable[[], Any]) -> Answer:
    """What came of a call. The SDK's errors are those of `requests`, which are OSErrors."""
    try:
        return Answer(200, call())
    except OSError as error:
        response = getattr(error, "response", None)
        if response is None:
            return Answer(0, f"{type(error).__name__}, {_root(error)}")
        return Answer(response.status_code, body_of(response))
    except (LookupError, TypeError, ValueError, AttributeError) as error:  # the SDK, on a body of another shape
        return Answer(0, repr(error))


def _root(error: BaseException) -> BaseException:
    """What an error began with: `requests` wraps a refused connection in three others."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def _note(answer: Answer, pacer: Pacer) -> None:
    if answer.status == 429 and word_of(answer.body) != "search_quota_exceeded":
        pacer.refused()
    elif answer.status == 200:
        pacer.accepted()
