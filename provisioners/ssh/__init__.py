"""Machines over SSH: those the user owns, and the way into rented ones. Only `client.py` imports paramiko."""
