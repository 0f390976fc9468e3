"""Benchmarks that take no arguments say what they do when asked, and don't begin."""

import argparse


def takes_none(description: str | None) -> None:
    """Print the description for `--help` and end; end with an error for anything else that was given."""
    argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
