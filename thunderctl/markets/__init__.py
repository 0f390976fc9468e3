"""What can be rented where, for a spec: each provider as the environment names it."""
