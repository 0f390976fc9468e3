"""The gate before every write of a deployment that another host's store has taken over."""

from sqlmodel import Session

from planner.errors import Refused
from thunderctl.store.tables import DeploymentTable
from thunderctl.store.values import DeploymentState


class MovedAway(Refused):
    """Another host's store is the deployment's: waiting changes nothing."""


def refuse_moved(session: Session, deployment: str) -> None:
    """Raise MovedAway for a deployment, or a row that belongs to one (`name#...`), that was handed over from here."""
    name = deployment.partition("#")[0]
    record = session.get(DeploymentTable, name)
    if record is not None and record.state == DeploymentState.MOVED:
        raise MovedAway(
            f"Deployment {name} was moved to another host, whose store alone may lease and release for it.",
            hint=f"Go on with it there: thunderctl --deployment {name} up",
        )
