"""What engines are sent and what they answer, as bytes. Pure."""
