"""thunderctl: serve open-weight models on rented GPUs, phase-split, within an hourly budget."""

__version__ = "0.1.0"
