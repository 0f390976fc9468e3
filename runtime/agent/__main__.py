"""`python -P -m runtime.agent agent.json`, started in the instance's folder."""

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from planner.errors import ThunderError
from runtime.agent.config import AgentConfig
from runtime.agent.own_log import OwnLog
from runtime.agent.process import serve
from runtime.open_files import raise_file_limit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an instance's agent; the exit code says how it ended. It keeps its state in the working directory."""
    arguments = sys.argv[1:] if arguments is None else arguments
    said = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=said, handlers=[OwnLog()])
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the session that started it may end
    raise_file_limit()
    path = Path(arguments[0] if arguments else "agent.json")
    try:
        asyncio.run(serve(AgentConfig.load(path), Path()))  # relative: a socket's path may have 108 characters
    except ThunderError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
