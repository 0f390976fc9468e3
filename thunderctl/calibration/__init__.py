"""Measuring this machine's own engines, and remembering what was found (`thunderctl doctor --calibrate`)."""
