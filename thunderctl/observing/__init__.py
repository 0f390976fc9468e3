"""What runs now, and what was measured of it."""
