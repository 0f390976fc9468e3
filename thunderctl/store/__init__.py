"""The store: deployments, plans, leases, events and locks. `values` is light; `store` imports SQLModel (400 ms)."""
