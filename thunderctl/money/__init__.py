"""What a deployment costs, has cost and may cost yet."""
