"""Text files only: what is rendered and handed to hosts. No code lives here."""
