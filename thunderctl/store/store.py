"""`Store`: everything commands remember, behind one name."""

from thunderctl.store.events import Events
from thunderctl.store.leases import Leases
from thunderctl.store.locks import Locks
from thunderctl.store.plans import Deployments, Plans
from thunderctl.store.transfers import Transfers


class Store(Deployments, Plans, Leases, Transfers, Events, Locks):
    """The open store, a `Journal` of leases among others: `with Store() as store: ...`.

    Calls block for milliseconds and may come from any one task at a time. No call is made over the network while a
    transaction is open.
    """
