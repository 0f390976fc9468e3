"""A deployment whose controller, store and all, lives on a host of one's own: moved, reached there, brought home."""
