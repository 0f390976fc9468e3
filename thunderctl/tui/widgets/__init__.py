"""What the status screen consists of: each part makes lines of a frame for a width, and one widget draws such lines."""
