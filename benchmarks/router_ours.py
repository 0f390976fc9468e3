"""This project's router before the mock engines of a benchmark, as the shared tool starts routers: by a command.

python -m benchmarks.router_ours --port PORT --prefill URL ... --decode URL ... [--sockets FOLDER]

With the folder of the engines' Unix sockets there are agents before them, which it asks over mutual TLS.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.router_agents import agents_before
from benchmarks.router_process import routes_of
from runtime.messages import agent_name
from runtime.router.process import run_router


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--prefill", action="append", default=[])
    options.add_argument("--decode", action="append", default=[])
    options.add_argument("--sockets", type=Path)
    asked = options.parse_args()
    engines = {f"p{number}": urlsplit(url).port or 0 for number, url in enumerate(asked.prefill)}
    engines |= {f"d{number}": urlsplit(url).port or 0 for number, url in enumerate(asked.decode)}
    with tempfile.TemporaryDirectory() as folder:
        if asked.sockets is None:
            run(engines, asked.port, Path(folder))
        else:
            with agents_before(engines, asked.sockets, Path(folder)) as (agents, credentials):
                run(agents, asked.port, Path(folder), tls_folder=credentials)


def run(replicas: Mapping[str, int], port: int, folder: Path, tls_folder: Path | None = None) -> None:
    """A router over replicas by name and port; with credentials these are agents of those names."""
    document = routes_of(replicas, agent_name if tls_folder else None)
    routes = folder / "routes.json"
    routes.write_text(json.dumps(document), encoding="utf-8")
    run_router(routes, f"127.0.0.1:{port}", tls_folder=tls_folder)


if __name__ == "__main__":
    main()
