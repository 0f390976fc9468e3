"""Which replicas a request takes: the plan in force, who is up, who is busy, and who has what."""
