"""The processes, started by `up` and hidden from help: `thunderctl run router`, `run controller`, `run agent`."""

import logging
from dataclasses import replace
from functools import partial
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
    from runtime.listening import bound_socket, parse_listen
    from runtime.processes import own_process_id
    from runtime.router.access.exposure import ClientTls
    from runtime.router.process import Door
    from runtime.router.process import run_router as serve_router
    from runtime.router.supervisor import Supervisor
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
    with bound_socket(*parse_listen(listen)) as bound:
        door = Door(bound, own_process_id())
        serve = partial(
            serve_router,
            routes,
            tls_folder=tls,
            admin_token=token,
            state_path=state_path,
            settings=RouterSettings(deadline_s=deadline_s, queue_s=queue_s, stop_grace_s=stop_grace_s),
            keys_path=keys,
            access_log=AccessLog(None if access_log == "-" else Path(access_log)) if access_log else None,
            client_tls=ClientTls(tls_cert, tls_key) if tls_cert and tls_key else None,
        )
        Supervisor(lambda deaths: serve(replace(door, deaths=deaths))).run()


@app.command("controller")
def run_controller(
    context: typer.Context,
    tick_s: Annotated[float, typer.Option(help="Seconds from one look at the agents to the next.", min=0.05)] = 2.0,
) -> None:
    """Look after a deployment: speak to its agents, follow its leases and their limits, route around what is lost.

    Example: thunderctl run controller
    """
    from thunderctl.controller.lead import look_after

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("paramiko").setLevel(logging.WARNING)  # it says of every connection how it was made
    look_after(context.obj, tick_s=tick_s)


@app.command("agent")
def run_agent(
    config: Annotated[Path, typer.Argument(help="The instance's agent.json.")] = Path("agent.json"),
) -> None:
    """Run an instance's agent in its folder (hosts run `python -P -m runtime.agent`, without this package).

    Example: thunderctl run agent agent.json
    """
    from runtime.agent.__main__ import main as agent_main

    raise typer.Exit(agent_main([str(config)]))


@app.command("take-in")
def take_in(context: typer.Context, bundle: Annotated[Path, typer.Argument(help="What was sent.")]) -> None:
    """On the host that a deployment moves to: make its rows and files this home's, unless that was done.

    Example: thunderctl run take-in move.json
    """
    from thunderctl.home import thunder_home
    from thunderctl.hosted.bundle import unpack
    from thunderctl.store.store import Store

    with Store() as store:
        if (name := unpack(store, bundle, home=thunder_home())) != context.obj:
            raise SpecError(f"{bundle} holds deployment {name}; expected {context.obj}.")


@app.command("hand-over")
def hand_over(
    context: typer.Context, again: Annotated[bool, typer.Option(help="Only if it was handed over before.")] = False
) -> None:
    """On the host that a deployment lives on: pack it up for home, if it is down, and lease no more for it.

    Example: thunderctl run hand-over
    """
    from thunderctl.hosted.moving import hand_home
    from thunderctl.world import open_world

    with open_world(context.obj) as world:
        hand_home(world, again=again)


@app.command("router-link")
def router_link(
    context: typer.Context, place: Annotated[str, typer.Option(help="`[serve] place`: ssh:HOST.")] = "local"
) -> None:
    """Keep a router running on a host of one's own, and the way to it.

    Example: thunderctl run router-link --place ssh:lab1
    """
    import asyncio

    from thunderctl.hosted.router_link import keep_link
    from thunderctl.world import open_world

    with open_world(context.obj) as world:
        asyncio.run(keep_link(world, place))


@app.command("router-there")
def router_there(stop: Annotated[bool, typer.Option(help="End it.")] = False) -> None:
    """On the host that a router was sent to: start it by what standard input says, or give it those routes; or end it.

    Example: thunderctl run router-there --stop
    """
    import asyncio
    import json
    import sys

    from thunderctl.cli.output import print_json
    from thunderctl.hosted import router_there as there

    if stop:
        asyncio.run(there.router_there().stop())
    else:
        print_json(asyncio.run(there.serve_there(json.load(sys.stdin))))
