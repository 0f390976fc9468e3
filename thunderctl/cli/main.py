"""The command line: where commands are registered, and errors become a message and an exit code."""

import atexit
import errno
import gc as garbage
import os
import sys
from contextlib import suppress
from typing import Annotated, Any

import typer

from planner.errors import ThunderError
from thunderctl import __version__
from thunderctl.cli import (
    bench,
    completion,
    copy_store,
    doctor,
    down,
    drain,
    events,
    gc,
    help_page,
    history,
    init,
    keys,
    leases,
    logs,
    offers,
    output,
    plan,
    predict,
    rebalance,
    run,
    simulate,
    ssh,
    status,
    streams,
    undrain,
    up,
)
from thunderctl.cli.elsewhere import refuse_here_only
from thunderctl.cli.there import run_where_it_lives

UsageError: Any = typer.BadParameter.__base__
"""What a wrong option or argument raises; typer has it without exporting it."""

app = typer.Typer(
    name="thunderctl",
    help="Serve open-weight models on rented GPUs, phase-split, within an hourly budget.",
    no_args_is_help=True,
    cls=help_page.Sectioned,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init")(init.init)
app.command("offers")(offers.offers)
app.command("plan")(plan.plan)
app.command("simulate")(simulate.simulate)
app.command("predict")(predict.predict)
app.command("up")(completion.completing(up.up, plan=completion.plan_ids))
app.command("status")(status.status)
app.command("rebalance")(completion.completing(rebalance.rebalance, without=completion.machines))
app.command("drain")(completion.completing(drain.drain, name=completion.machines))
app.command("undrain")(completion.completing(undrain.undrain, name=completion.machines))
app.command("down")(down.down)
app.command("leases")(leases.leases)
app.command("gc")(gc.gc)
app.command("logs")(logs.logs)
app.command("ssh")(ssh.ssh)
app.command("events")(events.events)
app.command("history")(history.history)
app.command("bench")(bench.bench)
app.command("doctor")(doctor.doctor)
app.command("copy-store")(copy_store.copy_store)
app.add_typer(keys.app, name="keys")
app.add_typer(run.app, name="run", hidden=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        output.print_text(f"thunderctl {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    context: typer.Context,
    deployment: Annotated[
        str, typer.Option(help="Which deployment, where there are several.", autocompletion=completion.deployments)
    ] = "default",
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    context.obj = deployment
    refuse_here_only(context.invoked_subcommand)


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its code (contracts: 0, 1, 2, 3, 4, 5, 130)."""
    streams.make_usable()
    if arguments is None:
        arguments = sys.argv[1:]
        atexit.register(garbage.freeze)  # else Python's end looks through all that was imported: a quarter of a command
    sys.exit(streams.flushed(_exit_code(_here_or_there, arguments)))


def _here_or_there(arguments: list[str], *, standalone_mode: bool) -> Any:
    """Run the command where its deployment lives."""
    code = run_where_it_lives(arguments)
    return app(arguments, standalone_mode=standalone_mode) if code is None else code


def _exit_code(command: Any, arguments: list[str]) -> int:
    as_json = "--json" in arguments
    try:
        outcome = command(arguments, standalone_mode=False)
    except ThunderError as error:
        output.fail(error, as_json=as_json)
        return error.exit_code
    except typer.Exit as exit_:
        return exit_.exit_code
    except (typer.Abort, KeyboardInterrupt):
        with suppress(OSError):
            sys.stderr.write("Interrupted. Nothing is lost: run the command again, or `thunderctl down`.\n")
        return 130
    except UsageError as error:
        error.message = error.message.replace("Value error, ", "")  # which only typer's authors understand
        if as_json:
            output.print_json({"error": {"kind": "SpecError", "message": error.format_message(), "hint": ""}})
        else:
            error.show()
        return int(error.exit_code)
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):
            return 0  # the reader of our output has gone, as in `| head`
        raise
    except Exception as error:
        if "THUNDER_DEBUG" in os.environ:
            raise
        output.fail(_bug(error), as_json=as_json)
        return 1
    return int(outcome or 0)


def _bug(error: Exception) -> ThunderError:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return ThunderError(
            f"{error.filename or 'The disk, or where the output goes,'} is full: {error.strerror}.",
            hint="Make room, and run the command again: nothing is lost. `thunderctl doctor` says what disk it needs.",
        )
    if isinstance(error, PermissionError) and error.filename:
        return ThunderError(
            f"{os.fspath(error.filename)} can't be reached: {error.strerror}.",
            hint="Is it another user's? Give it to this one (chown), or name a folder of your own: THUNDER_HOME=FOLDER",
        )
    hint = (
        "This is a bug. THUNDER_DEBUG=1 shows where; please report it. Nothing is lost: the command can be run again."
    )
    return ThunderError(f"{type(error).__name__}: {error}", hint=hint)
