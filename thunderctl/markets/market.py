"""The market that a spec is planned with: a file of offers, live ones of those that can be rented, or dated ones."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from planner.errors import ProvisioningError

if TYPE_CHECKING:
    from planner.market import Market
    from thunderctl.spec.spec import Spec


def read_market(
    spec: "Spec",
    offers: Path | None = None,
    *,
    rentable: bool = False,
    narrate: Callable[[str], None] = lambda _: None,
) -> "Market":
    """What can be planned with under a spec: the given file, or what providers sell (`thunderctl/markets/markets.py`).

    With `rentable` there are only live offers of those that can be rented from now; all of these are asked. `narrate`
    hears of the others. Raises ProvisioningError where no provider is left.
    """
    from planner.market import Interruptible, Market, eligible, offers_from_csv
    from thunderctl.markets.markets import dated_for, live_market, named
    from thunderctl.spec.inputs import read_text

    markets = spec.markets
    if offers is not None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Market(offers_from_csv(read_text(offers), str(offers)), now, "file")
    live = live_market(spec, _leasable(markets.providers, narrate) if rentable else named(spec), narrate)
    return eligible(
        live if rentable else dated_for(live, markets.providers),
        providers=markets.providers,
        interruptible=Interruptible(markets.interruptible),
        regions=markets.regions,
        min_reliability=markets.min_reliability,
    )


def _leasable(providers: Sequence[str], narrate: Callable[[str], None]) -> list[str]:
    """Those that can be rented from; the error of the first other one where none can."""
    from thunderctl.compose import check_leasable

    found, problems = [], []
    for provider in providers:
        try:
            check_leasable(provider)
            found.append(provider)
        except ProvisioningError as error:
            problems.append(error)
            narrate(f"{provider} is left out: {error.message}")
    if problems and not found:
        raise problems[0]
    return found
