"""What the user wrote: `thunder.toml`, checked, with the files it names and the places it states."""
