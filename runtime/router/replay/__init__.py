"""A stream that broke off, as another engine takes it up. Pure."""
