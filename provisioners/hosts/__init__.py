"""What an instance has, what it shall have, and the commands between the two."""
