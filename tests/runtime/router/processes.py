"""The router as a process of its own, supervised as `thunderctl run router` has it."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

PROCESS = """
import sys, pathlib
from planner.errors import ThunderError
from runtime.listening import bound_socket, parse_listen
from runtime.processes import own_process_id
from runtime.router.process import Door, run_router
from runtime.router.supervisor import Supervisor
try:
    bound, me = bound_socket(*parse_listen(sys.argv[1])), own_process_id()
    known = {"admin_token": "t", "state_path": pathlib.Path("router.json")}
    Supervisor(lambda deaths: run_router(pathlib.Path("routes.json"), Door(bound, me, deaths), **known)).run()
except ThunderError as error:
    print(error.message)
    sys.exit(error.exit_code)
"""


@contextmanager
def router_process(folder: Path, listen: str = "127.0.0.1:0"):
    argv = [sys.executable, "-P", "-c", PROCESS, listen]
    process = subprocess.Popen(argv, cwd=folder, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
