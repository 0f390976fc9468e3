"""Processes of this host that outlive commands, and how they are asked: the router, and agents over mutual TLS."""
