"""Thoughts about the machines and replicas of a plan: which rest, which are alike, which are looked at. Pure."""
