"""Where a model's weights come from, and what of them goes to hosts."""
