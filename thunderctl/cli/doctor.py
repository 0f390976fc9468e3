"""`thunderctl doctor`: what is wrong here, and how to mend it."""

from dataclasses import asdict
from typing import Annotated

import typer

from thunderctl.cli import output
from thunderctl.cli.options import JsonOption, SpecOption


def doctor(
    context: typer.Context,
    spec: SpecOption = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure this host's CPU engines, for plans that use them (3 minutes).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check this host, the store, the clock, credentials and what is left over; or calibrate this host's engines.

    Example: thunderctl doctor
    """
    if calibrate:
        from thunderctl.cli.calibration import run_calibration

        run_calibration(as_json=as_json)
        return
    from thunderctl.doctor.examine import examine

    with output.narrator().status("Asking providers and agents"):
        checks = examine(context.obj, spec)
    if as_json:
        output.print_json({"schema": "thunder.doctor/v1", "checks": [asdict(check) for check in checks]})
    else:
        rows = [("✓" if c.ok else "✗", c.name, c.detail, "" if c.ok else c.mend) for c in checks]
        output.show(output.table("Doctor", ("", "check", "found", "mend"), rows))
    if not all(check.ok for check in checks):
        raise typer.Exit(1)
