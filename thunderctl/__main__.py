"""The console script, and `python -P -m thunderctl`. Ctrl-C ends it alike while its modules are still being loaded."""

import sys

INTERRUPTED = 130


def main() -> None:
    try:
        from thunderctl.cli.main import main as run
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted before anything was done.\n")
        sys.exit(INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
