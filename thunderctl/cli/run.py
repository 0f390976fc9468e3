"""The processes, started by `up` and hidden from help: `thunderctl run router`, `thunderctl run agent`."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from planner.errors import SpecError

app = typer.Typer(help="Run one of the processes in the foreground.", no_args_is_help=True, rich_markup_mode=None)


@app.command("router")
def run_router(
    routes: Annotated[Path | None, typer.Option(help="A thunder.routes/v1 file; read again on SIGHUP.")] = None,
    listen: Annotated[str, typer.Option(help="HOST:PORT.")] = "127.0.0.1:8000",
    folder: Annotated[Path | None, typer.Option(help="A deployment's router folder (what `up` uses).")] = None,
    tls: Annotated[Path | None, typer.Option(help="Credentials towards agents: ca.crt, tls.crt, tls.key.")] = None,
    admin_token_file: Annotated[Path | None, typer.Option(help="What `PUT /admin/routes` must bear.")] = None,
) -> None:
    """Serve the OpenAI-compatible endpoint by a routes file, on engines anyone started.

    Example: thunderctl run router --routes routes.json --listen 127.0.0.1:8000
    """
    from runtime.router.app import run_router as serve

    if (routes is None) == (folder is None):
        raise SpecError("The router needs either --routes FILE or --folder FOLDER.")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if folder is None:
        assert routes is not None
        token = admin_token_file.read_text().strip() if admin_token_file else None
        serve(routes, listen, tls_folder=tls, admin_token=token)
    else:
        token = (folder / "admin.token").read_text().strip()
        state = folder / "router.json"
        serve(folder / "routes.json", listen, tls_folder=folder / "tls", admin_token=token, state_path=state)


@app.command("agent")
def run_agent(
    config: Annotated[Path, typer.Argument(help="The instance's agent.json.")] = Path("agent.json"),
) -> None:
    """Run an instance's agent in its folder (hosts run `python -P -m runtime.agent`, without this package).

    Example: thunderctl run agent agent.json
    """
    from runtime.agent.__main__ import main as agent_main

    raise typer.Exit(agent_main([str(config)]))
