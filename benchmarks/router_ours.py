"""This project's router before the mock engines of a benchmark, as the shared tool starts routers: by a command.

python -m benchmarks.router_ours --port PORT --prefill URL ... --decode URL ...
"""

import argparse
import json
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.router_process import routes_of
from runtime.router.app import run_router


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--prefill", action="append", default=[])
    options.add_argument("--decode", action="append", default=[])
    asked = options.parse_args()
    engines = {f"p{number}": urlsplit(url).port or 0 for number, url in enumerate(asked.prefill)}
    engines |= {f"d{number}": urlsplit(url).port or 0 for number, url in enumerate(asked.decode)}
    with tempfile.TemporaryDirectory() as folder:
        routes = Path(folder) / "routes.json"
        routes.write_text(json.dumps(routes_of(engines, secure=False)), encoding="utf-8")
        run_router(routes, f"127.0.0.1:{asked.port}")


if __name__ == "__main__":
    main()
