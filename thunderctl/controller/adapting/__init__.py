"""The controller gives replicas other phases and routes when the workload or the links are no longer the plan's."""
