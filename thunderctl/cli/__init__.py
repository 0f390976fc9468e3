"""The commands, one a file; each reads as the plot."""
