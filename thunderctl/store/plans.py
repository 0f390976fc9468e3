"""Deployments and the plans they ran."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from sqlmodel import col, select

from planner.errors import SpecError
from thunderctl.store.database import Database
from thunderctl.store.moved import refuse_moved
from thunderctl.store.tables import DeploymentTable, PlanTable
from thunderctl.store.values import Deployment, DeploymentState, SavedPlan


class Deployments(Database):
    def deployment(self, name: str) -> Deployment:
        """The deployment; `absent` when it was never saved."""
        with self._read() as session:
            record = session.get(DeploymentTable, name)
            return _deployment(record) if record else Deployment(name)

    def deployments(self) -> tuple[Deployment, ...]:
        """Every deployment ever saved, by name."""
        with self._read() as session:
            records = session.exec(select(DeploymentTable).order_by(col(DeploymentTable.name)))
            return tuple(_deployment(record) for record in records)

    def save_deployment(self, deployment: Deployment) -> Deployment:
        """Commit it whole and return it as saved: `created_at` stays the first save's, `updated_at` is now.

        Raises Refused where another host's store is the deployment's.
        """
        with self._write() as session:
            refuse_moved(session, deployment.name)
            record = session.get(DeploymentTable, deployment.name, with_for_update=True)
            created_at = record.created_at if record else self._now()
            saved = replace(deployment, created_at=created_at, updated_at=self._now())
            session.merge(
                DeploymentTable(
                    **{
                        **asdict(saved),
                        "state": str(saved.state),
                        "spec": dict(saved.spec),
                        "resting": dict(saved.resting),
                    }
                )
            )
        return saved


class Plans(Database):
    def save_plan(self, plan_id: str, deployment: str, document: Mapping[str, Any]) -> None:
        """Commit a plan's document. Plans are immutable: saving one again keeps the first."""
        with self._write() as session:
            if session.get(PlanTable, (plan_id, deployment)) is None:
                session.add(
                    PlanTable(plan_id=plan_id, deployment=deployment, created_at=self._now(), document=dict(document))
                )

    def plan(self, plan_id: str, deployment: str) -> SavedPlan:
        """A saved plan. Raises SpecError when there is none of that id."""
        with self._read() as session:
            record = session.get(PlanTable, (plan_id, deployment))
            if record is None:
                raise SpecError(f"Deployment {deployment} has no plan {plan_id}.", hint="See: thunderctl history")
            return _plan(record)

    def plans(self, deployment: str) -> tuple[SavedPlan, ...]:
        """The deployment's plans, newest first."""
        query = select(PlanTable).where(PlanTable.deployment == deployment).order_by(col(PlanTable.created_at).desc())
        with self._read() as session:
            return tuple(_plan(record) for record in session.exec(query))


def _deployment(record: DeploymentTable) -> Deployment:
    return Deployment(**{**record.model_dump(), "state": DeploymentState(record.state)})


def _plan(record: PlanTable) -> SavedPlan:
    return SavedPlan(**record.model_dump())
