"""`python -P -m thunderctl`: the console script by another name."""

from thunderctl.cli.main import main

main()
