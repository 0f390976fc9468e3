"""The processes, started by `up` and hidden from help: `thunderctl run router`, `run controller`, `run agent`."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from planner.errors import SpecError
from runtime.router.settings import RouterSettings

DEFAULTS = RouterSettings()

app = typer.Typer(help="Run one of the processes in the foreground.", no_args_is_help=True, rich_markup_mode=None)


@app.command("router")
def run_router(
    routes: Annotated[Path | None, typer.Option(help="A thunder.routes/v1 file; read again on SIGHUP.")] = None,
    listen: Annotated[str, typer.Option(help="HOST:PORT.")] = "127.0.0.1:8000",
    folder: Annotated[Path | None, typer.Option(help="A deployment's router folder (what `up` uses).")] = None,
    tls: Annotated[Path | None, typer.Option(help="Credentials towards agents: ca.crt, tls.crt, tls.key.")] = None,
    admin_token_file: Annotated[Path | None, typer.Option(help="What `PUT /admin/routes` must bear.")] = None,
    keys: Annotated[Path | None, typer.Option(help="The file of client keys; read again when it changes.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="The certificate that clients are shown (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    deadline_s: Annotated[float, typer.Option(help="The longest a request may take.", min=0.001)] = DEFAULTS.deadline_s,
    queue_s: Annotated[float, typer.Option(help="The longest it waits for room.", min=0.001)] = DEFAULTS.queue_s,
    stop_grace_s: Annotated[
        float, typer.Option(help="What requests under way have at SIGTERM; a second one ends them.", min=0)
    ] = DEFAULTS.stop_grace_s,
    access_log: Annotated[str, typer.Option(help="A file for a JSON line a request; - is stderr.")] = "",
) -> None:
    """Serve the OpenAI-compatible endpoint by a routes file, on engines anyone started.

    Example: thunderctl run router --routes routes.json --listen 127.0.0.1:8000
    """
    from runtime.router.access.exposure import ClientTls
    from runtime.router.process import run_router as serve
    from runtime.router.watching.access_log import AccessLog

    if (routes is None) == (folder is None):
        raise SpecError("The router needs either --routes FILE or --folder FOLDER.")
    if (tls_cert is None) != (tls_key is None):
        raise SpecError("One of --tls-cert and --tls-key is given; expected both, or neither.")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    token = admin_token_file.read_text().strip() if admin_token_file else None
    state_path = None
    if folder is not None:
        routes, tls, state_path = folder / "routes.json", folder / "tls", folder / "router.json"
        token = (folder / "admin.token").read_text().strip()
    assert routes is not None
    serve(
        routes,
        listen,
        tls_folder=tls,
        admin_token=token,
        state_path=state_path,
        settings=RouterSettings(deadline_s=deadline_s, queue_s=queue_s, stop_grace_s=stop_grace_s),
        keys_path=keys,
        access_log=AccessLog(None if access_log == "-" else Path(access_log)) if access_log else None,
        client_tls=ClientTls(tls_cert, tls_key) if tls_cert and tls_key else None,
    )


@app.command("controller")
def run_controller(
    context: typer.Context,
    tick_s: Annotated[float, typer.Option(help="Seconds from one look at the agents to the next.", min=0.05)] = 2.0,
) -> None:
    """Look after a deployment: speak to its agents, follow its leases and their limits, route around what is lost.

    Example: thunderctl run controller
    """
    from thunderctl.controller.lead import lead
    from thunderctl.world import open_world

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with open_world(context.obj) as world:
        lead(world, tick_s=tick_s)


@app.command("agent")
def run_agent(
    config: Annotated[Path, typer.Argument(help="The instance's agent.json.")] = Path("agent.json"),
) -> None:
    """Run an instance's agent in its folder (hosts run `python -P -m runtime.agent`, without this package).

    Example: thunderctl run agent agent.json
    """
    from runtime.agent.__main__ import main as agent_main

    raise typer.Exit(agent_main([str(config)]))
