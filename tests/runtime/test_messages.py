"""Routes that anyone may write: what no router could go by is refused in words, not met by requests."""

from typing import Any

import pytest

from planner.errors import SpecError
from runtime.messages import Routes


def document(*, replica: dict[str, Any] | None = None, route: dict[str, Any] | None = None, **top: Any) -> Any:
    decode = {"id": "d0", "phase": "decode", "url": "http://127.0.0.1:8102", **(replica or {})}
    prefill = {"id": "p0", "phase": "prefill", "url": "http://127.0.0.1:8101"}
    pair = {"prefill": "p0", "decode": "d0", "share": 1.0, "codec": "int4", **(route or {})}
    return {
        "schema": "thunder.routes/v1",
        "epoch": 1,
        "model": "m",
        "replicas": [prefill, decode],
        "routes": [pair],
    } | top


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8102",
        "ftp://h:1",
        "http://:80",
        "http://h:port",
        "http://h:99999",
        "http://a..b:1",
        "http://[::1",
        5,
    ],
)
def test_an_address_that_nobody_can_be_asked_at_is_refused(url: object):
    with pytest.raises(SpecError, match="Routes can't be read"):
        Routes.from_json(document(replica={"url": url}))


@pytest.mark.parametrize("url", ["http://h", "https://[::1]:8443/r/d0", "http://a.b:1/", "http://127.0.0.1:8102/r/d0"])
def test_other_addresses_pass(url: str):
    routes = Routes.from_json(document(replica={"url": url}))
    assert routes.replicas[1].url == url.rstrip("/")


@pytest.mark.parametrize("amount", [float("inf"), float("nan"), -1, "many", None, 10**400])
@pytest.mark.parametrize("key", ["weight", "max_requests", "local_tokens_per_s", "capacity_rps"])
def test_an_amount_that_is_none_is_refused(key: str, amount: object):
    with pytest.raises(SpecError):
        Routes.from_json(document(replica={key: amount}))


@pytest.mark.parametrize("amount", [float("inf"), float("nan"), -1, 2**63])
def test_so_is_an_epoch_or_a_length_that_is_none(amount: float):
    with pytest.raises(SpecError):
        Routes.from_json(document(epoch=amount))
    with pytest.raises(SpecError):
        Routes.from_json(document(route={"local_below_tokens": amount}))


@pytest.mark.parametrize("share", [float("inf"), float("nan"), -0.5])
def test_a_share_is_a_finite_number(share: float):
    other = {"prefill": "d0", "decode": "d0", "share": 1.0, "codec": "local"}
    routes = [*document(route={"share": share})["routes"], other]
    with pytest.raises(SpecError, match="share"):
        Routes.from_json(document(routes=routes))


def test_what_was_read_is_what_is_written():
    routes = Routes.from_json(document(replica={"max_requests": 8, "weight": 2, "default_max_tokens": 0}))
    assert Routes.from_json(routes.to_json()) == routes
