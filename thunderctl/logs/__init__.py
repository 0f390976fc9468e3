"""Logs of a deployment, wherever they lie: their ends, and what is added to them, through each machine's transport."""
