"""`thunderctl drain`: routes without a replica or a machine, which stays and can be taken back."""

from typing import Annotated

import typer

from thunderctl.cli.options import JsonOption, YesOption
from thunderctl.cli.rebalance import rebalance


def drain(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A replica, or an instance: then all replicas on it.")],
    workload: Annotated[str, typer.Option(help="observed, coding, conversation, or a trace's CSV.")] = "observed",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change and change nothing.")] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Give a replica or instance no more requests; those under way there end as they began. As rebalance --without.

    Its machine stays, and costs: `thunderctl undrain` takes it back, the next `up` releases a drained instance.

    Example: thunderctl drain i2
    """
    rebalance(context, workload=workload, without=[name], dry_run=dry_run, yes=yes, as_json=as_json)
