"""Of several leases for one instance of a plan, the one that is it.

A create that got no answer, and that seemed to have made nothing, may show its machine after all when another one has
long taken its place. That one must not give way to a machine on which nothing ever ran.
"""

from collections.abc import Iterable

from provisioners.leases.journal import LeaseRow, LeaseState

MADE_READY = (LeaseState.READY, LeaseState.DRAINING)


def chosen(rows: Iterable[LeaseRow]) -> LeaseRow | None:
    """The one that is ready, else one that was, else one that never was so far: of equals the first."""
    return min(rows, key=_rank, default=None)


def _rank(row: LeaseRow) -> int:
    return MADE_READY.index(row.state) if row.state in MADE_READY else len(MADE_READY)
